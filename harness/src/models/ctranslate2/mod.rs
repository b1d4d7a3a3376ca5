//! Whisper as CTranslate2 stores it, turned into what Hugging Face publishes.
//!
//! CTranslate2 writes one file of variables, little-endian (`model_spec.py` of the project):
//!
//! ```text
//! u32 version   text specification   u32 revision
//! u32 variables, each: text name, u8 rank, u32 size of each axis, u8 type, u32 bytes, the bytes
//! u32 aliases, each:   text alias, text name of the variable that it stands for
//! text: u16 bytes, the last of which is 0
//! ```
//!
//! `variables` reads it, `whisper` gives each variable its Hugging Face name, and this file writes
//! the folder: weights as they are stored (f16 or f32; int8 is multiplied out), and the
//! configurations, whose sizes are those of the weights.

mod variables;
mod whisper;

use anyhow::{Context, Result};
use safetensors::{serialize, tensor::TensorView};
use serde_json::Value;
use std::{fs, path::Path};
use variables::Variables;

/// Replaces `model.bin` and CTranslate2's `config.json` in `folder` by the files of
/// `WhisperForConditionalGeneration`.
pub(super) fn convert_whisper(folder: &Path) -> Result<()> {
    let model = folder.join("model.bin");
    let bytes = fs::read(&model).with_context(|| format!("reading {}", model.display()))?;
    let variables = Variables::parse(&bytes).context("model.bin is not CTranslate2's")?;
    let stored = fs::read_to_string(folder.join("config.json")).context("reading config.json")?;
    let stored: Value = serde_json::from_str(&stored).context("config.json is malformed")?;
    let whisper = whisper::Whisper::new(&variables)?;

    let tensors = whisper.tensors()?;
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        Ok((name.as_str(), view.with_context(|| format!("the tensor {name}"))?))
    });
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let weights = serialize(views, Some(metadata)).context("laying out model.safetensors")?;
    fs::write(folder.join("model.safetensors"), weights).context("writing model.safetensors")?;
    for (name, value) in [
        ("config.json", whisper.config()?),
        ("generation_config.json", whisper.generation_config(&stored)?),
        ("preprocessor_config.json", whisper.preprocessor_config()?),
    ] {
        let text = format!("{value:#}\n");
        fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    fs::remove_file(&model).with_context(|| format!("removing {}", model.display()))
}
