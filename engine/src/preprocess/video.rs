//! X-CLIP's videos: as many frames as the model looks at, at equal distances.

use super::{
    Image,
    pixels::{Pixels, batch},
};
use crate::{
    error::{Error, Result},
    published::Inputs,
};

/// Which of `frames` frames `wanted` are looked at: transformers' `default_sample_indices_fn`.
pub(super) fn indices(frames: usize, wanted: usize) -> Result<Vec<usize>> {
    if frames < wanted {
        let message = format!("are {frames}, the model looks at {wanted} (num_frames)");
        return Err(Error::input("frames", message));
    }
    Ok((0..wanted).map(|i| i * frames / wanted).collect())
}

/// `pixel_values: [1, F, 3, H, W]` of one video.
pub(super) fn put(
    pixels: &Pixels,
    frames: &[Image],
    wanted: usize,
    inputs: &mut Inputs,
) -> Result<()> {
    let chosen = indices(frames.len(), wanted)?;
    let planes = chosen.into_iter().map(|i| pixels.planes(&frames[i])).collect::<Result<_>>()?;
    let (shape, values) = batch(planes)?;
    inputs.floats.insert("pixel_values".to_owned(), ([&[1], &shape[..]].concat(), values));
    Ok(())
}
