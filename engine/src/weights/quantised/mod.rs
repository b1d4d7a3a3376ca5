//! Checkpoints whose linear layers somebody has quantised already, in Hugging Face's form.
//!
//! `quantization_config` in `config.json` says by whom and how (`config.rs`). A layer `X` then has no
//! `X.weight: [N, K]`, but parts (`layer.rs`; `unpack.rs` reads them), in G groups of inputs:
//!
//! ```text
//!            GPTQ                                  AWQ (gemm)
//! X.qweight  I32 [K · bits / 32, N], along K       I32 [K, N · bits / 32], along N
//! X.qzeros   I32 [G, N · bits / 32], along N       the same
//! X.scales   F16 [G, N]                            the same
//! X.g_idx    I32 [K], the group of each input      –
//! ```
//! Along K or N the integers are a stream of bits, the lowest first, across words where 32 is no
//! multiple of their bits; in AWQ of eight neighbours those with even numbers come first. A weight is
//! `scale · (code − zero)`. GPTQ stores its zeros less one, unless `checkpoint_format` is `gptq_v2`.
//!
//! HQQ folds a matrix into R rows of one group each, or, with `axis` 0, into columns, and puts rows that are far
//! apart side by side, the first in the highest bits; what has 3 bits, ten to a word:
//!
//! ```text
//! X.W_q            U8 [R · bits / 8, group], or I32 [R / 10, group]
//! X.zero, X.scale  F16 [R, 1], or [1, columns]; zeros are no integers
//! X.shape          I64 [2]: N and K; other small tensors say what follows from shapes
//! ```
//! Sources: `qlinear_cuda_old.py` of AutoGPTQ 0.7, `packing_utils.py` of AutoAWQ 0.2, `bitpack.py` of HQQ 0.2.
//!
//! Here the parts become one tensor `X.weight`, which every class finds where it looks for it. Its
//! numbers can be had as f32, exactly, or as [`super::codes::Codes`].

mod config;
mod layer;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
mod unpack;

pub(super) use config::Config;
pub(super) use layer::Parts;

use super::{Source, TensorInfo};
use crate::error::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

/// What HQQ writes beside a layer, besides what is wanted of it.
const NOTES: [&str; 15] = [
    "axis",
    "channel_wise",
    "compute_dtype",
    "encoded_state_dict",
    "group_size",
    "nbits",
    "offload_meta",
    "optimize",
    "packing",
    "quant_scale",
    "quant_zero",
    "round_zero",
    "stores_quant_config",
    "unpack_view_dtype",
    "view_as_float",
];

/// Puts a tensor `X.weight` in the place of the parts of each quantised layer.
///
/// # Errors
/// When a part is missing or has another shape than the others ask for, or nobody says what they are.
pub(super) async fn join(
    source: &dyn Source,
    tensors: &mut BTreeMap<String, TensorInfo>,
    config: Option<&Config>,
) -> Result<()> {
    let ending = if config == Some(&Config::Hqq) { ".W_q" } else { ".qweight" };
    let is_codes = |name: &String| name.strip_suffix(ending).map(str::to_owned);
    let layers: Vec<String> = tensors.keys().filter_map(is_codes).collect();
    for layer in layers {
        let codes = tensors.remove(&format!("{layer}{ending}")).expect("it was just there");
        let file: Arc<str> = codes.file.clone();
        let wrong = |message: String| Error::malformed(&*file, message);
        let mut part = |part: &str| tensors.remove(&format!("{layer}.{part}"));
        let needed = |part: &str, found: Option<TensorInfo>| {
            let missing = || format!("tensor {layer}.{part}: is missing; download the model again");
            found.ok_or_else(|| wrong(missing()))
        };
        let parts = match config {
            None => {
                return Err(wrong(format!(
                    "tensor {}: is quantised, and config.json has no quantization_config that says how",
                    codes.name
                )));
            }
            Some(Config::Words(words)) => {
                let zeros = needed("qzeros", part("qzeros"))?;
                let scales = needed("scales", part("scales"))?;
                Parts::in_words(words, [codes, zeros, scales], part("g_idx"))
            }
            Some(Config::Hqq) => {
                let zeros = needed("zero", part("zero"))?;
                let scales = needed("scale", part("scale"))?;
                let shape = needed("shape", part("shape"))?;
                NOTES.iter().for_each(|note| _ = part(note));
                let sizes = match shape.len() {
                    2 => shape.i64s(source).await?,
                    _ => Vec::new(),
                };
                match sizes.iter().map(|size| usize::try_from(*size)).collect::<Vec<_>>()[..] {
                    [Ok(outputs), Ok(inputs)] => {
                        Parts::in_halves([outputs, inputs], [codes, zeros, scales])
                    }
                    _ => Err("its shape is not that of a matrix".to_owned()),
                }
            }
        };
        let name = format!("{layer}.weight");
        let weight = parts
            .and_then(|parts| TensorInfo::in_parts(name.clone(), parts))
            .map_err(|message| wrong(format!("layer {layer}: {message}")))?;
        if tensors.insert(name, weight).is_some() {
            return Err(wrong(format!("layer {layer}: has both a weight and its parts")));
        }
    }
    Ok(())
}
