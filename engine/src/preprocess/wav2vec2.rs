//! Wav2Vec2's waves: samples with mean 0 and variance 1, `Wav2Vec2FeatureExtractor` in transformers.

use super::{Audio, settings::Section};
use crate::{
    error::{Error, Result},
    published::Inputs,
};

/// How waves are prepared.
#[derive(Debug)]
pub(super) struct Waves {
    rate: u32,
    padding: f32,
    normalise: bool,
    mask: bool,
}

impl Waves {
    pub(super) fn read(section: &Section) -> Result<Waves> {
        section.read(|config| {
            if config.size_or("feature_size", Some(1))? != 1 {
                return Err(Error::config("feature_size", "must be 1: waves have one channel"));
            }
            Ok(Waves {
                rate: config.size_or("sampling_rate", Some(16_000))? as u32,
                padding: config.number_or("padding_value", 0.0)? as f32,
                normalise: config.flag_or("do_normalize", true)?,
                mask: config.flag_or("return_attention_mask", false)?,
            })
        })
    }

    /// `input_values: [B, T]`, and `attention_mask` where the model was trained with one.
    pub(super) fn put(&self, audio: &[Audio], inputs: &mut Inputs) -> Result<()> {
        let mut waves = Vec::new();
        for audio in audio {
            waves.push(audio.at(self.rate)?.samples);
        }
        let (rows, len) = (waves.len(), waves.iter().map(Vec::len).max().unwrap_or(0));
        let (mut values, mut mask) = (Vec::new(), Vec::new());
        for mut wave in waves {
            let own = wave.len();
            mask.extend((0..len).map(|i| i64::from(i < own)));
            // Models without a mask take padding for sound, and so does their mean.
            if !self.mask {
                wave.resize(len, self.padding);
            }
            if self.normalise {
                standardise(&mut wave);
            }
            wave.resize(len, self.padding);
            values.extend(wave);
        }
        inputs.floats.insert("input_values".to_owned(), (vec![rows, len], values));
        if self.mask {
            inputs.ints.insert("attention_mask".to_owned(), (vec![rows, len], mask));
        }
        Ok(())
    }
}

/// Gives samples mean 0 and variance 1.
fn standardise(samples: &mut [f32]) {
    let count = samples.len() as f64;
    let mean = samples.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let variance = samples.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + 1e-7).sqrt();
    samples.iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) * scale) as f32);
}
