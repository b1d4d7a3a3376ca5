//! A model whose products are computed in floats, so that kernels have no part in what comes out.

use super::{
    Windows,
    learner::{dequantised, look_up, product},
};
use crate::{
    device::{Device, MatrixId, Products},
    error::{Error, Result},
    load::Loaded,
    models::{Decoder, Model, Rows},
    packing::Weights,
    quant::{CHUNK, Format, Matrix},
};
use pollster::block_on;
use record::Precision;
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// Weights of all matrices together up to which they are kept as floats: a gigabyte.
const KEPT: usize = 1 << 28;

/// A model in main memory, whose products are computed here.
pub(crate) struct Opened {
    pub(crate) loaded: Loaded<Box<dyn Model>>,
    pub(crate) device: Device,
}

impl Opened {
    pub(crate) fn of((weights, precision): (&Weights, &Precision)) -> Result<Opened> {
        let declared = weights.declare(precision)?;
        let loaded = block_on(declared.load(weights.source(), &Device::cpu(), &|_, _| ()))?;
        let own = loaded.matrices().into_iter().flat_map(|(_, matrices)| matrices);
        let matrices: BTreeMap<MatrixId, Matrix> =
            own.map(|matrix| (matrix.id(), matrix)).collect();
        let size = matrices.values().map(|matrix| matrix.rows * matrix.columns).sum::<usize>();
        let kept = (size <= KEPT).then(RefCell::default);
        let device = Device::with_products(Rc::new(Floats { matrices, kept }));
        Ok(Opened { loaded, device })
    }

    /// The model as one that says what follows in a text, if it does.
    pub(crate) fn decoder(&self) -> Option<&dyn Decoder> {
        self.loaded.model.decoder()
    }

    /// Bytes of the cache of one token, of which each sequence is given room for one.
    pub(super) fn token_bytes(&self, text: &Windows) -> Result<u64> {
        let state = self.speaking()?.begin(&self.device, text.inputs(), 1)?;
        Ok(state.cache.bytes() / text.count as u64)
    }

    /// Logits of all tokens of a text, and how many there are of each.
    pub(super) fn logits(&self, text: &Windows) -> Result<(Vec<f32>, usize)> {
        let decoder = self.speaking()?;
        let inputs = text.inputs();
        let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
        let state = decoder.begin(&self.device, inputs, ids.tokens)?;
        let rows = Rows { last: false, mask: None };
        let ids = ids.upload(&self.device);
        let logits = decoder.prefill(&self.device, &state, inputs, &ids, rows)?;
        let vocabulary = logits.columns();
        let mut logits = block_on(self.device.take(vec![logits]))?;
        Ok((logits.remove(0), vocabulary))
    }

    fn speaking(&self) -> Result<&dyn Decoder> {
        let message = "the model does not say what follows in a text; llama and qwen2 do";
        self.decoder().ok_or_else(|| Error::unsupported(message))
    }
}

/// Products with dequantised weights.
#[derive(Debug)]
struct Floats {
    matrices: BTreeMap<MatrixId, Matrix>,
    /// Those that were multiplied with, where there is room for all.
    kept: Option<RefCell<BTreeMap<MatrixId, Vec<f32>>>>,
}

impl Products for Floats {
    fn multiply(&self, x: &[f32], id: MatrixId) -> Vec<f32> {
        let matrix = &self.matrices[&id];
        let width = matrix.chunks() * CHUNK;
        match &self.kept {
            Some(kept) if matrix.format != Format::F32 => {
                let made = || dequantised(matrix).into_owned();
                product(x, kept.borrow_mut().entry(id).or_insert_with(made), width)
            }
            _ => product(x, &dequantised(matrix), width),
        }
    }

    fn rows(&self, ids: &[u32], id: MatrixId) -> Vec<f32> {
        look_up(&self.matrices[&id], ids)
    }
}
