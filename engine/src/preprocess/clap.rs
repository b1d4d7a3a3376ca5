//! CLAP's ten seconds of sound (`ClapFeatureExtractor` in transformers): shorter ones are repeated,
//! longer ones cut, or seen as a whole and in three cuts (`fusion`).
//!
//! transformers draws the places of cuts at random; here they are in the middle of where they could
//! be, so that the same recording gives the same numbers.

use super::{Audio, settings::Section};
use crate::{
    error::{Error, Result},
    mel::{Mel, MelShape, Scale},
    published::Inputs,
};

/// Longest part of a recording that a configuration may ask for, in samples: CLAP's has 480,000.
const MAX_SAMPLES: usize = 1 << 24;
/// Longest recording that fusion looks at: ten minutes at 48 kHz.
const MAX_WHOLE: usize = 600 * 48_000;

/// How recordings are prepared.
#[derive(Debug)]
pub(super) struct Features {
    mel: Mel,
    samples: usize,
    fuses: bool,
    repeats: Repeats,
}

/// What follows a recording that is too short.
#[derive(Clone, Copy, Debug)]
enum Repeats {
    /// Itself, up to the end.
    Cut,
    /// Itself as often as it fits, then silence.
    Whole,
    /// Silence.
    None,
}

impl Features {
    pub(super) fn read(section: &Section) -> Result<Features> {
        section.read(|config| {
            let rate = config.size_or("sampling_rate", Some(48_000))?;
            let seconds = config.size_or("max_length_s", Some(10))?;
            let samples = seconds.saturating_mul(rate);
            if samples > MAX_SAMPLES {
                let message = format!("{seconds} s at {rate} samples a second are too many");
                return Err(Error::config("max_length_s", message));
            }
            let fuses = match config.text_or("truncation", "fusion")? {
                "fusion" => true,
                "rand_trunc" => false,
                other => {
                    let message = format!("{other} is unknown; use fusion or rand_trunc");
                    return Err(Error::config("truncation", message));
                }
            };
            let repeats = match config.text_or("padding", "repeatpad")? {
                "repeatpad" => Repeats::Whole,
                "repeat" => Repeats::Cut,
                "pad" => Repeats::None,
                other => {
                    let message = format!("{other} is unknown; use repeatpad, repeat or pad");
                    return Err(Error::config("padding", message));
                }
            };
            let mel = Mel::new(MelShape {
                rate,
                window: config.size_or("fft_window_size", Some(1024))?,
                hop: config.size_or("hop_length", Some(480))?,
                bins: config.size_or("feature_size", Some(64))?,
                range: [
                    config.number_or("frequency_min", 0.0)?,
                    config.number_or("frequency_max", 14_000.0)?,
                ],
                // Each way of cutting was trained with its own filters.
                scale: if fuses { Scale::Htk } else { Scale::Slaney },
                factor: 10.0,
            })?;
            Ok(Features { mel, samples, fuses, repeats })
        })
    }

    /// `input_features: [B, 4 or 1, frames, bins]` in decibels, and `is_longer: [B, 1]`.
    pub(super) fn put(&self, audio: &[Audio], inputs: &mut Inputs) -> Result<()> {
        let (frames, bins) = (self.mel.frames(self.samples), self.mel.shape.bins);
        let (mut values, mut longer) = (Vec::new(), Vec::new());
        for audio in audio {
            let samples = audio.at(self.mel.shape.rate as u32)?.samples;
            longer.push(self.put_one(samples, frames, &mut values)?);
        }
        if self.fuses && !longer.contains(&true) {
            // The model cannot do without a long recording, so one of a batch is called so.
            let middle = middle(longer.len());
            longer[middle] = true;
        }
        let parts = if self.fuses { 4 } else { 1 };
        let shape = vec![audio.len(), parts, frames, bins];
        inputs.floats.insert("input_features".to_owned(), (shape, values));
        let longer = longer.into_iter().map(i64::from).collect();
        inputs.ints.insert("is_longer".to_owned(), (vec![audio.len(), 1], longer));
        Ok(())
    }

    /// Appends the spectra of one recording; says whether it was too long.
    fn put_one(&self, mut samples: Vec<f32>, frames: usize, values: &mut Vec<f32>) -> Result<bool> {
        let own = samples.len();
        if own <= self.samples {
            let whole = match self.repeats {
                Repeats::Cut => self.samples,
                Repeats::Whole => self.samples / own * own,
                Repeats::None => own,
            };
            samples = samples.iter().copied().cycle().take(whole).collect();
            samples.resize(self.samples, 0.0);
        } else if !self.fuses {
            let first = middle(own - self.samples + 1);
            values.extend(self.mel.log(&samples[first..first + self.samples]));
            return Ok(true);
        }
        if own > MAX_WHOLE {
            let message = format!("has {own} samples, more than {MAX_WHOLE}: cut it");
            return Err(Error::input("audio", message));
        }
        let spectrum = self.mel.log(&samples);
        let bins = self.mel.shape.bins;
        let total = spectrum.len() / bins;
        if total == frames {
            let parts = if self.fuses { 4 } else { 1 };
            (0..parts).for_each(|_| values.extend(&spectrum));
            return Ok(false);
        }
        values.extend(shrink(&spectrum, bins, frames));
        for first in cuts(total - frames + 1) {
            values.extend(&spectrum[first * bins..(first + frames) * bins]);
        }
        Ok(true)
    }
}

/// The middle one of so many, the earlier of two.
fn middle(count: usize) -> usize {
    (count - 1) / 2
}

/// The middles of three equal parts of so many places; the first parts are longer by one where they
/// cannot be equal, and what is empty counts as the first place.
fn cuts(places: usize) -> [usize; 3] {
    let mut first = 0;
    [0, 1, 2].map(|part| {
        let len = places / 3 + usize::from(part < places % 3);
        let cut = if len == 0 { 0 } else { first + middle(len) };
        first += len;
        cut
    })
}

/// The spectrum `[total, bins]` in fewer frames: linear between the two nearest, as torch's
/// `interpolate` does without `align_corners`.
fn shrink(spectrum: &[f32], bins: usize, frames: usize) -> Vec<f32> {
    let total = spectrum.len() / bins;
    let scale = total as f32 / frames as f32;
    let frame = |i: usize| {
        let at = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
        let first = (at as usize).min(total - 1);
        let second = (first + 1).min(total - 1);
        let share = at - first as f32;
        (0..bins).map(move |bin| {
            let (a, b) = (spectrum[first * bins + bin], spectrum[second * bins + bin]);
            a * (1.0 - share) + b * share
        })
    };
    (0..frames).flat_map(frame).collect()
}
