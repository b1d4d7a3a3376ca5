//! One file a class, from configuration to forward pass, read top to bottom.
//!
//! A class is driven by `config.json` alone and named as Hugging Face names its tensors. It declares
//! its weights to a [`Declaration`], which makes it a model with a plan of what is to be loaded, and
//! computes through [`crate::ops`].

mod bert;
pub(crate) mod blocks;
mod clap;
mod clip;
mod detr;
mod inputs;
mod llama;
mod llava;
mod llava_next;
mod qwen2;
mod t5;
mod vit;
mod wav2vec2;
mod whisper;
mod xclip;

pub use crate::published::{Config, Ids, Images, Inputs};

use crate::{
    architectures,
    device::Device,
    error::{Error, Result},
    kv::{CacheShape, KvCache},
    load::{Declaration, Declared},
    ops::{self, Angles},
    tensor::Tensor,
    weights::Checkpoint,
};
use record::{Class, Precision};

/// Named outputs of a forward pass, as Hugging Face names them.
pub type Outputs = Vec<(&'static str, Tensor)>;

/// A model, which computes once its weights are loaded.
pub trait Model {
    /// One pass over a case's inputs.
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs>;

    /// The model as a generator of tokens, where it is one.
    fn decoder(&self) -> Option<&dyn Decoder> {
        None
    }
}

/// A model that generates tokens.
///
/// A text is opened by [`Decoder::begin`], which computes what all of its tokens share; then
/// [`Decoder::prefill`] reads the prompt and [`Decoder::step`] each new token.
pub trait Decoder {
    /// The input that holds prompts `[B, T]`: `decoder_input_ids` where an encoder goes first.
    fn prompt_input(&self) -> &'static str {
        "input_ids"
    }

    /// The inputs of one of `batch` sequences.
    fn row(&self, inputs: &Inputs, row: usize, batch: usize) -> Inputs {
        inputs.row(row, batch)
    }

    /// Room for the sequences of `inputs`, of up to `capacity` tokens each. An encoder runs here,
    /// and cross-attention keys and values are computed once.
    fn begin(&self, device: &Device, inputs: &Inputs, capacity: usize) -> Result<State>;

    /// The layers of the cache that [`Decoder::begin`] makes for so many sequences and tokens, and what each has
    /// room for; known before weights are loaded, as are the counts below.
    fn cache(&self, batch: usize, capacity: usize) -> (usize, CacheShape);

    /// Bytes of that cache.
    fn cache_bytes(&self, batch: usize, capacity: usize) -> u64 {
        let (layers, shape) = self.cache(batch, capacity);
        shape.bytes(layers)
    }

    /// Logits of the prompt `ids: [B, T]`. Models that read more than text put it in place here.
    fn prefill(
        &self,
        device: &Device,
        state: &State,
        inputs: &Inputs,
        ids: &Tensor,
        rows: Rows<'_>,
    ) -> Result<Tensor> {
        let _ = inputs;
        Ok(self.step(device, state, ids, rows))
    }

    /// Logits `[B, T, V]`, or `[B, 1, V]` of the last position alone, of `ids: [B, T]` behind what
    /// `state` holds. The caller advances the state.
    fn step(&self, device: &Device, state: &State, ids: &Tensor, rows: Rows<'_>) -> Tensor;

    /// The padding of the prompt: `attention_mask`, which belongs to the encoder where there is one.
    fn prompt_mask(&self, inputs: &Inputs, ids: &Ids) -> Result<Option<Vec<f32>>> {
        match self.prompt_input() {
            "input_ids" => inputs.mask("attention_mask", ids.batch, ids.tokens),
            _ => Ok(None),
        }
    }

    /// The token that stands for what is no text, such as pictures.
    fn placeholder(&self) -> Option<u32> {
        None
    }

    /// Tokens that a cache keeps, where it does not keep all.
    fn kept(&self) -> Option<usize> {
        None
    }

    /// Most tokens that a text may have, its prompt included.
    fn positions(&self) -> usize {
        usize::MAX
    }

    /// Token ids there are.
    fn vocabulary(&self) -> usize;

    /// Tokens that end a text.
    fn stop_tokens(&self) -> &[u32];
}

/// What a decoder remembers of its sequences.
#[derive(Debug)]
pub struct State {
    /// Keys and values of the decoder's own tokens.
    pub cache: KvCache,
    /// Rotary angles of every position there is room for.
    pub angles: Option<Angles>,
    /// Keys and values `[B, S, H · D]` of what is attended across, a pair a layer.
    pub cross: Vec<(Tensor, Tensor)>,
    /// `[B, S]`: which of those are padding.
    pub cross_mask: Option<Tensor>,
    /// Addend on the scores of self-attention, as [`crate::ops::Attention`] wants it.
    pub bias: Option<Tensor>,
}

impl State {
    /// A state of keys and values alone.
    pub fn new(cache: KvCache) -> State {
        State { cache, angles: None, cross: Vec::new(), cross_mask: None, bias: None }
    }
}

/// Which positions of a pass are wanted, and which are there.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Only the last position's logits.
    pub last: bool,
    /// `[B, T]`: positions that are padding.
    pub mask: Option<&'a Tensor>,
}

impl Rows<'_> {
    /// The rows of `x: [B, T, C]` that are wanted: all, or `[B, 1, C]`.
    fn pick(&self, device: &Device, x: Tensor) -> Tensor {
        let [batch, tokens, columns] = x.shape()[..] else { panic!("three axes wanted") };
        if !self.last || tokens == 1 {
            return x;
        }
        let lasts = (1..=batch).map(|b| (b * tokens - 1) as u32).collect();
        let lasts = device.upload_u32(&[batch], lasts);
        ops::gather_rows(device, &x, &lasts).reshape(&[batch, 1, columns])
    }
}

/// A model of a class with its plan, which is yet to be carried out: what `config` asks for is checked
/// against the tensors of `checkpoint`.
pub fn declare(
    class: Class,
    config: &Config,
    checkpoint: &Checkpoint,
    precision: &Precision,
) -> Result<Declared<Box<dyn Model>>> {
    let name = config.architecture()?;
    if architectures::named(name)?.class != class {
        let message = format!("{name} is not of the class {class}");
        return Err(Error::config("architectures", message));
    }
    let declaration = Declaration::new(checkpoint, precision);
    let weights = &declaration;
    let model: Box<dyn Model> = match class {
        Class::Bert => Box::new(bert::Bert::declare(config, weights)?),
        Class::Clap => Box::new(clap::Clap::declare(config, weights)?),
        Class::Clip => Box::new(clip::Clip::declare(config, weights)?),
        Class::Detr => Box::new(detr::Detr::declare(config, weights)?),
        Class::Llama => Box::new(llama::declare(config, weights)?),
        Class::Llava => Box::new(llava::declare(config, weights)?),
        Class::LlavaNext => Box::new(llava_next::declare(config, weights)?),
        Class::Qwen2 => Box::new(qwen2::declare(config, weights)?),
        Class::T5 => Box::new(t5::T5::declare(config, weights)?),
        Class::Wav2vec2 => Box::new(wav2vec2::Wav2Vec2::declare(config, weights)?),
        Class::Vit => Box::new(vit::Vit::declare(config, weights)?),
        Class::Whisper => Box::new(whisper::Whisper::declare(config, weights)?),
        Class::Xclip => Box::new(xclip::XClip::declare(config, weights)?),
    };
    declaration.finish(model)
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{
        architectures::ARCHITECTURES,
        weights::{Checkpoint, Memory},
    };
    use record::{Bits, Precision};
    use serde_json::json;

    /// What each class says of a model that has a name and nothing else.
    fn refusal(class: Class, architecture: &str) -> Error {
        let list = Memory::new().with("list", "w 1\n");
        let checkpoint = pollster::block_on(Checkpoint::listed(&list, "list", "values")).unwrap();
        let precision = Precision::of(Bits::Fixed(16));
        let config = Config::new(json!({"architectures": [architecture]})).unwrap();
        declare(class, &config, &checkpoint, &precision).map(|_| ()).unwrap_err()
    }

    #[test]
    fn classes_load_what_the_table_says_and_nothing_else() {
        let is_of_name = |error: &Error| matches!(error, Error::Config { field, .. } if field == "architectures");
        for known in ARCHITECTURES {
            let error = refusal(known.class, known.name);
            assert!(!is_of_name(&error), "{}: {error}", known.name);
        }
        for class in Class::ALL {
            let other = if *class == Class::Vit { "BertModel" } else { "ViTModel" };
            let error = refusal(*class, other);
            assert!(is_of_name(&error), "{class}: {error}");
        }
    }
}
