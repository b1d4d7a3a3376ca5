//! The named inputs of a forward pass, checked before they reach an op.

use crate::error::{Error, Result};
use std::{collections::BTreeMap, ops::Range};

/// Tensors named as the arguments of the Hugging Face class's `forward()`.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Integers and booleans.
    pub ints: BTreeMap<String, (Vec<usize>, Vec<i64>)>,
    /// Floating-point numbers.
    pub floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

/// A batch of token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Ids {
    /// Sequences.
    pub batch: usize,
    /// Tokens in each.
    pub tokens: usize,
    /// `[batch, tokens]`.
    pub values: Vec<u32>,
}

/// A batch of images, channels last.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Axes before the channels: a batch, or a batch and its frames or tiles.
    pub lead: Vec<usize>,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
    /// `[lead.., height, width, channels]`.
    pub values: Vec<f32>,
}

impl Images {
    /// How many images there are.
    pub fn count(&self) -> usize {
        self.lead.iter().product()
    }
}

impl Inputs {
    /// Ids `[B, T]` below `limit`.
    pub fn ids(&self, name: &str, limit: usize) -> Result<Ids> {
        self.find_ids(name, limit)?.ok_or_else(|| Error::input(name, "is missing"))
    }

    /// The same, where the input may be absent.
    pub fn find_ids(&self, name: &str, limit: usize) -> Result<Option<Ids>> {
        let Some((shape, values)) = self.ints.get(name) else { return Ok(None) };
        let [batch, tokens] = shape[..] else {
            return Err(Error::input(name, format!("has shape {shape:?}, not [batch, tokens]")));
        };
        if batch * tokens == 0 {
            return Err(Error::input(name, format!("has shape {shape:?}: there is nothing to do")));
        }
        let values = values.iter().map(|&id| match usize::try_from(id) {
            Ok(id) if id < limit => Ok(id as u32),
            _ => Err(Error::input(name, format!("holds {id}, which is not in 0 … {}", limit - 1))),
        });
        Ok(Some(Ids { batch, tokens, values: values.collect::<Result<_>>()? }))
    }

    /// Images `[lead.., channels, H, W]` with `axes` axes before the channels, as torch orders them.
    pub fn images(&self, name: &str, axes: usize, channels: usize) -> Result<Images> {
        let (shape, values) = self.floats(name)?;
        if shape.len() != axes + 3 || shape[axes] != channels || values.is_empty() {
            let wanted = ["batch", "frames"][..axes].join(", ");
            let message = format!("has shape {shape:?}, not [{wanted}, {channels}, height, width]");
            return Err(Error::input(name, message));
        }
        let (height, width) = (shape[axes + 1], shape[axes + 2]);
        let pixels = height * width;
        let mut turned = vec![0.0; values.len()];
        let images = turned.chunks_exact_mut(pixels * channels);
        for (image, planes) in images.zip(values.chunks_exact(pixels * channels)) {
            for (c, plane) in planes.chunks_exact(pixels).enumerate() {
                for (pixel, value) in plane.iter().enumerate() {
                    image[pixel * channels + c] = *value;
                }
            }
        }
        Ok(Images { lead: shape[..axes].to_vec(), height, width, channels, values: turned })
    }

    /// Shape and values of an input of floating-point numbers.
    pub fn floats(&self, name: &str) -> Result<(&[usize], &[f32])> {
        let (shape, values) =
            self.floats.get(name).ok_or_else(|| Error::input(name, "is missing"))?;
        Ok((shape, values))
    }

    /// The inputs of one sequence of a batch: row `row` of everything that has `batch` rows.
    pub fn row(&self, row: usize, batch: usize) -> Inputs {
        self.rows(&[row], batch)
    }

    /// The same of several sequences.
    pub fn rows(&self, rows: &[usize], batch: usize) -> Inputs {
        fn cut<T: Clone>(
            tensors: &BTreeMap<String, (Vec<usize>, Vec<T>)>,
            rows: &[usize],
            batch: usize,
        ) -> BTreeMap<String, (Vec<usize>, Vec<T>)> {
            let cut = |(name, (shape, values)): (&String, &(Vec<usize>, Vec<T>))| {
                if shape.first() != Some(&batch) {
                    return (name.clone(), (shape.clone(), values.clone()));
                }
                let len = values.len() / batch;
                let shape = [&[rows.len()], &shape[1..]].concat();
                let values = rows.iter().flat_map(|row| &values[row * len..(row + 1) * len]);
                (name.clone(), (shape, values.cloned().collect()))
            };
            tensors.iter().map(cut).collect()
        }
        Inputs { ints: cut(&self.ints, rows, batch), floats: cut(&self.floats, rows, batch) }
    }

    /// Keeps the first `len` columns of integers `[B, T]`, where there are so many.
    pub fn keep_columns(&mut self, name: &str, len: usize) {
        if let Some((shape, values)) = self.ints.get_mut(name)
            && let [_, columns] = &mut shape[..]
            && *columns > len
        {
            *values = values.chunks_exact(*columns).flat_map(|row| &row[..len]).copied().collect();
            *columns = len;
        }
    }

    /// Keeps `part` of the first axis of an input of either kind, or drops the input where that is
    /// empty; what does not have that part stays whole.
    pub fn keep(&mut self, name: &str, part: Range<usize>) {
        fn cut<T: Clone>(
            tensors: &mut BTreeMap<String, (Vec<usize>, Vec<T>)>,
            name: &str,
            part: Range<usize>,
        ) {
            if part.is_empty() {
                tensors.remove(name);
            } else if let Some((shape, values)) = tensors.get_mut(name)
                && shape.first().is_some_and(|len| part.end <= *len)
            {
                let len = values.len() / shape[0];
                *values = values[part.start * len..part.end * len].to_vec();
                shape[0] = part.len();
            }
        }
        cut(&mut self.ints, name, part.clone());
        cut(&mut self.floats, name, part);
    }

    /// A padding mask `[B, T]` as ones and zeros; none where all is ones or the input is absent.
    pub fn mask(&self, name: &str, batch: usize, tokens: usize) -> Result<Option<Vec<f32>>> {
        let Some((shape, values)) = self.ints.get(name) else { return Ok(None) };
        if *shape != [batch, tokens] {
            let message = format!("has shape {shape:?}, the ids have [{batch}, {tokens}]");
            return Err(Error::input(name, message));
        }
        if values.iter().all(|&keep| keep != 0) {
            return Ok(None);
        }
        Ok(Some(values.iter().map(|&keep| f32::from(u8::from(keep != 0))).collect()))
    }
}
