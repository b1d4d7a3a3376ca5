//! LLaVA-NeXT (Liu et al. 2024): LLaVA that looks at an image whole and in tiles.

use super::{
    Config,
    blocks::tiles::Tiles,
    llava::{Llava, first_of, vision_config},
};
use crate::{
    error::{Error, Result},
    load::Declaration,
};

/// Where the newline lies: as transformers 5 names it, then as files were published before it.
const NEWLINE: [&str; 2] = ["model.image_newline", "image_newline"];

pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Llava> {
    config.architecture_of(&["LlavaNextForConditionalGeneration"])?;
    let model = Llava::declare(config, weights)?;
    if model.keeps_class() {
        let message = "full is not supported: tiles are put together from patches alone";
        return Err(Error::config("vision_feature_select_strategy", message));
    }
    let newline = weights.tensor(first_of(weights, &NEWLINE, ""), &[model.width()])?;
    Ok(model.with_tiles(Tiles::read(config, &vision_config(config)?, newline)?))
}
