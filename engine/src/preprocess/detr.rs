//! DETR's images: each as large as its edges allow, then all of one size, with a mask of what is
//! image (`DetrImageProcessor` in transformers).

use super::{
    Image,
    pixels::{MAX_VALUES, Pixels, Planes, batch},
};
use crate::{
    error::{Error, Result},
    published::Inputs,
};

/// `pixel_values: [N, 3, H, W]`, filled up on the right and below, and `pixel_mask: [N, H, W]`.
pub(super) fn put(pixels: &Pixels, images: &[Image], inputs: &mut Inputs) -> Result<()> {
    let images = images.iter().map(|image| pixels.planes(image)).collect::<Result<Vec<_>>>()?;
    let height = images.iter().map(|image| image.height).max().unwrap_or(0);
    let width = images.iter().map(|image| image.width).max().unwrap_or(0);
    if images.len().saturating_mul(height * width * 3) > MAX_VALUES {
        let message = format!("are {} of up to {height} × {width} pixels: too many", images.len());
        return Err(Error::input("images", message));
    }
    if !pixels.pads {
        inputs.floats.insert("pixel_values".to_owned(), batch(images)?);
        return Ok(());
    }
    let mut mask = Vec::with_capacity(images.len() * height * width);
    for image in &images {
        for y in 0..height {
            mask.extend((0..width).map(|x| i64::from(y < image.height && x < image.width)));
        }
    }
    inputs.ints.insert("pixel_mask".to_owned(), (vec![images.len(), height, width], mask));
    let padded = images.into_iter().map(|image| fill_up(image, height, width)).collect();
    inputs.floats.insert("pixel_values".to_owned(), batch(padded)?);
    Ok(())
}

/// The image with zeros on the right and below.
fn fill_up(image: Planes, height: usize, width: usize) -> Planes {
    if (image.height, image.width) == (height, width) {
        return image;
    }
    let mut values = vec![0.0; 3 * height * width];
    let planes = image.values.chunks_exact(image.height * image.width);
    for (to, from) in values.chunks_exact_mut(height * width).zip(planes) {
        for (to, from) in to.chunks_exact_mut(width).zip(from.chunks_exact(image.width)) {
            to[..image.width].copy_from_slice(from);
        }
    }
    Planes { height, width, values }
}
