//! Log-mel spectra: windows of a sound, their power on the mel scale, its logarithm.
//!
//! [`Mel`] holds the tables that the CPU and [`crate::ops::log_mel`] share. Formulas are those of
//! transformers' `audio_utils.py`, which follows librosa (slaney) and torchaudio (htk).

use crate::error::{Error, Result};
use rustfft::{FftPlanner, num_complex::Complex};
use std::f64::consts::PI;

/// Power below this counts as this.
pub(crate) const FLOOR: f32 = 1e-10;
/// Longest window: what a workgroup's memory holds, and twice the longest anyone uses.
const MAX_WINDOW: usize = 1024;

/// Which curve "mel" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// 2595 · log10(1 + f / 700), triangles of height 1: torchaudio's default, HTK's formula.
    Htk,
    /// Linear below 1 kHz and logarithmic above, triangles of equal area: librosa's default, from
    /// Slaney's Auditory Toolbox.
    Slaney,
}

/// What a log-mel spectrum is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MelShape {
    /// Samples a second.
    pub rate: usize,
    /// Samples in a window.
    pub window: usize,
    /// Samples from one window to the next.
    pub hop: usize,
    /// Bands.
    pub bins: usize,
    /// Lowest and highest frequency in Hz.
    pub range: [f64; 2],
    /// Which curve, and how triangles are scaled.
    pub scale: Scale,
    /// Factor on log10 of the power: 1, or 10 for decibels.
    pub factor: f32,
}

/// A triangle of the filter bank.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Triangle {
    /// First frequency with a weight.
    pub first: usize,
    /// Weights from there on; none where the triangle lies between two frequencies.
    pub weights: Vec<f64>,
}

/// The tables of a log-mel spectrum.
#[derive(Clone, Debug)]
pub struct Mel {
    pub(crate) shape: MelShape,
    /// A periodic Hann window.
    pub(crate) window: Vec<f64>,
    pub(crate) triangles: Vec<Triangle>,
}

impl Mel {
    /// Computes the tables.
    ///
    /// # Errors
    /// When a size is 0, the window is too long or the frequencies are not in order.
    pub fn new(shape: MelShape) -> Result<Mel> {
        let MelShape { rate, window, hop, bins, range: [low, high], .. } = shape;
        if rate == 0
            || hop == 0
            || bins == 0
            || !(2..=MAX_WINDOW).contains(&window)
            || bins > window
        {
            let message = format!(
                "a spectrum of {bins} bands from windows of {window} samples every {hop} at {rate} \
                 a second cannot be computed; windows have 2 to {MAX_WINDOW} samples"
            );
            return Err(Error::unsupported(message));
        }
        if !(0.0 <= low && low < high && high <= 1e6) {
            let message = format!("{low} … {high} Hz are no range of frequencies");
            return Err(Error::unsupported(message));
        }
        let hann = |i: usize| 0.5 - 0.5 * (2.0 * PI * i as f64 / window as f64).cos();
        Ok(Mel { shape, window: (0..window).map(hann).collect(), triangles: triangles(&shape) })
    }

    /// Frames of a sound: one every hop, the first and the last centred on its ends.
    pub fn frames(&self, samples: usize) -> usize {
        1 + samples / self.shape.hop
    }

    /// How the window is split into the op's two passes: the first has this many terms, the second
    /// the rest of the product, as equal as can be.
    pub(crate) fn split(&self) -> usize {
        let window = self.shape.window;
        (1..=window.isqrt()).rev().find(|n| window.is_multiple_of(*n)).unwrap_or(1)
    }

    /// The log-mel spectrum `[frames, bins]` of a sound; beyond its ends it is mirrored. Transforms
    /// run in f64, as numpy's do: what lies 100 dB below the loudest tone counts here.
    pub fn log(&self, samples: &[f32]) -> Vec<f32> {
        let MelShape { window: length, hop, bins, factor, .. } = self.shape;
        if samples.is_empty() {
            return Vec::new();
        }
        let fft = FftPlanner::<f64>::new().plan_fft_forward(length);
        let mut buffer = vec![Complex::default(); length];
        let mut scratch = vec![Complex::default(); fft.get_inplace_scratch_len()];
        let mut power = vec![0.0f64; length / 2 + 1];
        let mut out = Vec::with_capacity(self.frames(samples.len()) * bins);
        for frame in 0..self.frames(samples.len()) {
            let start = (frame * hop) as i64 - (length / 2) as i64;
            for ((i, value), window) in (start..).zip(&mut buffer).zip(&self.window) {
                let sample = samples[mirror(i, samples.len())];
                *value = Complex::new(f64::from(sample) * window, 0.0);
            }
            fft.process_with_scratch(&mut buffer, &mut scratch);
            power.iter_mut().zip(&buffer).for_each(|(power, value)| *power = value.norm_sqr());
            for triangle in &self.triangles {
                let powers = power[triangle.first..].iter().zip(&triangle.weights);
                let sum: f64 = powers.map(|(power, weight)| power * weight).sum();
                out.push((sum.max(f64::from(FLOOR)).log10() * f64::from(factor)) as f32);
            }
        }
        out
    }
}

/// An index into a sound that is mirrored at its ends, which are not repeated.
fn mirror(i: i64, len: usize) -> usize {
    let period = 2 * (len as i64 - 1).max(1);
    let i = i.rem_euclid(period);
    i.min(period - i).min(len as i64 - 1) as usize
}

fn triangles(shape: &MelShape) -> Vec<Triangle> {
    let MelShape { rate, window, bins, range, scale, .. } = *shape;
    let [low, high] = range.map(|hz| to_mel(hz, scale));
    let step = (high - low) / (bins + 1) as f64;
    let edges: Vec<f64> = (0..bins + 2).map(|i| to_hz(low + step * i as f64, scale)).collect();
    let frequencies = window / 2 + 1;
    let spacing = (rate / 2) as f64 / (frequencies - 1) as f64;
    let triangle = |edges: &[f64]| {
        let [left, peak, right] = edges else { unreachable!("windows of three") };
        let area = match scale {
            Scale::Htk => 1.0,
            Scale::Slaney => 2.0 / (right - left),
        };
        let weight = |i: usize| {
            let hz = i as f64 * spacing;
            let rising = (hz - left) / (peak - left);
            let falling = (right - hz) / (right - peak);
            rising.min(falling).max(0.0) * area
        };
        let inside = |i: &usize| weight(*i) > 0.0;
        let first = (0..frequencies).find(inside).unwrap_or(0);
        let weights = (first..frequencies).take_while(inside).map(weight).collect();
        Triangle { first, weights }
    };
    edges.windows(3).map(triangle).collect()
}

/// Slaney's curve: 200/3 Hz a mel up to 1 kHz, then 27 steps to 6.4 times the frequency.
const BEND_HZ: f64 = 1000.0;
const BEND_MEL: f64 = 15.0;

fn to_mel(hz: f64, scale: Scale) -> f64 {
    match scale {
        Scale::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
        Scale::Slaney if hz >= BEND_HZ => BEND_MEL + (hz / BEND_HZ).ln() * 27.0 / 6.4f64.ln(),
        Scale::Slaney => hz * 3.0 / 200.0,
    }
}

fn to_hz(mel: f64, scale: Scale) -> f64 {
    match scale {
        Scale::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
        Scale::Slaney if mel >= BEND_MEL => BEND_HZ * ((mel - BEND_MEL) * 6.4f64.ln() / 27.0).exp(),
        Scale::Slaney => mel * 200.0 / 3.0,
    }
}
