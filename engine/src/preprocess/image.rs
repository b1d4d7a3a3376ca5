//! Images: from the bytes of a PNG or JPEG file to 8-bit RGB.

use crate::error::{Error, Result};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use std::io::Cursor;

/// Longest side of an image.
pub(super) const MAX_SIDE: usize = 1 << 14;
/// Most memory that decoding may take.
const MAX_BYTES: u64 = 512 << 20;

/// An image of 8-bit red, green and blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels from left to right.
    pub width: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Rows from the top, pixels from the left, three bytes a pixel.
    pub rgb: Vec<u8>,
}

impl Image {
    /// Reads a PNG or JPEG file. It is turned upright as its EXIF says, and transparency is dropped,
    /// as transformers' `load_image` does.
    ///
    /// # Errors
    /// When it is no such file, is cut off, or is larger than 16,384 pixels a side.
    pub fn decode(bytes: &[u8]) -> Result<Image> {
        let wrong = |e: image::ImageError| {
            Error::input("image", format!("is not a PNG or JPEG file that can be read: {e}"))
        };
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE as u32);
        limits.max_image_height = Some(MAX_SIDE as u32);
        limits.max_alloc = Some(MAX_BYTES);
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
        let mut reader = reader.map_err(|e| wrong(e.into()))?;
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(wrong)?;
        let upright = decoder.orientation().map_err(wrong)?;
        let mut decoded = DynamicImage::from_decoder(decoder).map_err(wrong)?;
        decoded.apply_orientation(upright);
        let rgb = decoded.into_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        Image { width, height, rgb: rgb.into_raw() }.checked()
    }

    /// The image, after a look at what a caller made of it.
    pub(super) fn checked(self) -> Result<Image> {
        self.check()?;
        Ok(self)
    }

    /// Says what is wrong with an image that was put together by hand.
    pub(super) fn check(&self) -> Result<()> {
        let Image { width, height, rgb } = self;
        let sides = 1..=MAX_SIDE;
        if !sides.contains(width) || !sides.contains(height) || rgb.len() != width * height * 3 {
            let message = format!(
                "has {} bytes for {width} × {height} pixels; it must have three a pixel, and 1 to \
                 {MAX_SIDE} pixels a side",
                rgb.len()
            );
            return Err(Error::input("image", message));
        }
        Ok(())
    }
}
