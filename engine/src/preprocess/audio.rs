//! Sounds: WAV files to samples, and from one sampling rate to another.

use super::compressed;
use crate::error::{Error, Result};
use std::{f64::consts::PI, io::Cursor};

/// Sampling rates that are believed: beyond them a header is more likely wrong than a recording odd.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Zero crossings of the filter on each side; torchaudio's `lowpass_filter_width`.
const CROSSINGS: f64 = 6.0;
/// Where the filter cuts off, as a part of the lower Nyquist frequency; torchaudio's `rolloff`.
const ROLLOFF: f64 = 0.99;

/// A recording of one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// Samples a second.
    pub rate: u32,
    /// The samples, in [-1, 1] where they come from integers.
    pub samples: Vec<f32>,
}

impl Audio {
    /// Reads a FLAC, MP3 or Ogg Vorbis file, or a WAV file of integers (8, 16, 24 or 32 bits) or
    /// floats; channels are averaged.
    ///
    /// # Errors
    /// When it is no such file, or ends before its header says it does.
    pub fn decode(bytes: &[u8]) -> Result<Audio> {
        match bytes.starts_with(b"RIFF") {
            true => Audio::wav(bytes),
            false => compressed::decode(bytes)?.checked(),
        }
    }

    fn wav(bytes: &[u8]) -> Result<Audio> {
        let wrong = |message: String| Error::input("audio", message);
        let mut reader = hound::WavReader::new(Cursor::new(bytes))
            .map_err(|e| wrong(format!("is not a WAV file that can be read: {e}")))?;
        let spec = reader.spec();
        check_rate(spec.sample_rate)?;
        let (channels, count) = (usize::from(spec.channels), reader.len() as usize);
        let bytes_each = usize::from(spec.bits_per_sample.div_ceil(8));
        // A header is believed only as far as there are bytes behind it.
        if channels == 0 || count == 0 || count.saturating_mul(bytes_each) > bytes.len() {
            let message = format!("has {count} samples by its header and {} bytes", bytes.len());
            return Err(wrong(format!("{message}: it is empty or cut off")));
        }
        let cut_off = |e: hound::Error| wrong(format!("is cut off or damaged: {e}"));
        let values: Vec<f32> = match (spec.sample_format, spec.bits_per_sample) {
            (hound::SampleFormat::Float, 32) => {
                reader.samples::<f32>().collect::<Result<_, _>>().map_err(cut_off)?
            }
            (hound::SampleFormat::Int, bits @ (8 | 16 | 24 | 32)) => {
                let scale = 1.0 / f64::from(1u32 << (bits - 1));
                let samples = reader.samples::<i32>();
                let scaled = samples.map(|s| s.map(|s| (f64::from(s) * scale) as f32));
                scaled.collect::<Result<_, _>>().map_err(cut_off)?
            }
            (format, bits) => {
                let message = format!("has {format:?} samples of {bits} bits");
                return Err(wrong(format!("{message}; convert it to 16-bit PCM")));
            }
        };
        let share = 1.0 / channels as f32;
        let mono = values.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * share);
        Audio { rate: spec.sample_rate, samples: mono.collect() }.checked()
    }

    /// The recording at another rate: band-limited interpolation with a sinc under a Hann window, as
    /// `torchaudio.functional.resample` computes it (after Smith, "Digital Audio Resampling") in f64;
    /// in f32 it is some 2e-5 away from its own formula.
    ///
    /// # Errors
    /// When a rate is not one of a recording.
    pub fn resample(&self, rate: u32) -> Result<Audio> {
        check_rate(self.rate)?;
        check_rate(rate)?;
        if rate == self.rate {
            return Ok(self.clone());
        }
        let divisor = gcd(self.rate, rate);
        let (from, to) = ((self.rate / divisor) as usize, (rate / divisor) as usize);
        let filter = Filter::new(from, to);
        let count = (self.samples.len() * to).div_ceil(from);
        // Outputs that are `to` apart see their inputs alike, so there are `to` phases.
        let phases: Vec<_> = (0..to.min(count)).map(|phase| filter.phase(phase)).collect();
        let at = |i: usize| {
            let (first, taps) = &phases[i % to];
            let start = first + (i / to * from) as i64;
            let inputs = (start..).zip(taps);
            let sample = |j: i64| usize::try_from(j).ok().and_then(|j| self.samples.get(j));
            inputs.filter_map(|(j, tap)| Some(f64::from(*sample(j)?) * tap)).sum::<f64>() as f32
        };
        Ok(Audio { rate, samples: (0..count).map(at).collect() })
    }

    /// The recording at `rate`, after a look at what a caller made of it.
    pub(super) fn at(&self, rate: u32) -> Result<Audio> {
        self.clone().checked()?.resample(rate)
    }

    fn checked(self) -> Result<Audio> {
        check_rate(self.rate)?;
        if self.samples.is_empty() {
            return Err(Error::input("audio", "has no samples"));
        }
        if let Some(i) = self.samples.iter().position(|sample| !sample.is_finite()) {
            return Err(Error::input("audio", format!("sample {i} is not a finite number")));
        }
        Ok(self)
    }
}

/// A windowed sinc between two rates without a common divisor.
struct Filter {
    from: f64,
    to: f64,
    /// Cut-off in the unit in which `from` inputs take one second.
    base: f64,
}

impl Filter {
    fn new(from: usize, to: usize) -> Filter {
        Filter { from: from as f64, to: to as f64, base: from.min(to) as f64 * ROLLOFF }
    }

    /// The first input that output `phase` sees, and the factors of those from there on.
    fn phase(&self, phase: usize) -> (i64, Vec<f64>) {
        let reach = CROSSINGS * self.from / self.base;
        let centre = phase as f64 * self.from / self.to;
        let (first, last) = ((centre - reach).ceil() as i64, (centre + reach).floor() as i64);
        let place = phase as f64 / self.to;
        let tap = |input: i64| {
            let t = (input as f64 / self.from - place) * self.base;
            let t = t.clamp(-CROSSINGS, CROSSINGS);
            let window = (t * PI / CROSSINGS / 2.0).cos().powi(2);
            let sinc = if t == 0.0 { 1.0 } else { (t * PI).sin() / (t * PI) };
            sinc * window * self.base / self.from
        };
        (first, (first..=last).map(tap).collect())
    }
}

fn check_rate(rate: u32) -> Result<()> {
    if RATES.contains(&rate) {
        return Ok(());
    }
    let message = format!("{rate} samples a second are not in {} … {}", RATES.start(), RATES.end());
    Err(Error::input("audio", message))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
