//! Log-mel spectra of sounds: window, Fourier transform, power, filter bank, logarithm.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    mel::{FLOOR, Mel, MelShape, Scale},
    tensor::Tensor,
    testing::normal,
};
use std::{f64::consts::TAU, fmt};

/// The kernels of a spectrum, the preferred one first, a workgroup a frame each. Invocations in two rows of 128 do the
/// same as 256 in a row; they are there as browsers were said to differ in which they prefer.
pub fn kernels(mel: &Mel) -> [Kernel; 4] {
    let kernel = |workgroup| {
        Kernel::new("log_mel", Geometry::rows(workgroup))
            .with("N", mel.shape.window as u32)
            .with("A", mel.split() as u32)
    };
    [kernel(WG).for_software(), kernel(4 * WG), kernel(4 * WG).with("TWO_HIGH", 1), kernel(WG)]
}

/// A spectrum as far as a tuning tells spectra apart.
#[derive(Hash)]
struct Spectrum {
    window: usize,
    bins: usize,
}

impl fmt::Display for Spectrum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log_mel {} to {}", self.window, self.bins)
    }
}

/// Of each frame: a product with the window, a Fourier transform of five operations for each of its
/// steps, three for the power of each frequency; of each bin a product and a sum for each of its
/// frequencies, and a logarithm.
fn analysis([batch, samples]: [usize; 2], mel: &Mel) -> Analysis {
    let MelShape { window, bins, .. } = mel.shape;
    let frames = mel.frames(samples);
    let transform = window + 5 * window * window.ilog2() as usize + 3 * (window / 2 + 1);
    let weights: usize = mel.triangles.iter().map(|triangle| triangle.weights.len()).sum();
    Analysis::writes([batch, frames, bins])
        .reads([&[batch, samples], &[window], &[weights]])
        .operations((batch * frames) as u64 * (transform + 2 * weights + bins) as u64)
}

/// `[B, frames, bins]` of sounds `[B, T]`, frames centred on every hop; what happens beyond a
/// sound's ends is mirrored, so it must be longer than half a window.
///
/// The CPU transforms in f64 and the GPU in f32, which sees what is down to some 120 dB below a
/// window's loudest tone.
pub fn log_mel(device: &Device, sounds: &Tensor, mel: &Mel) -> Tensor {
    let [batch, samples] = sounds.shape()[..] else { panic!("two axes wanted") };
    let MelShape { window, hop, bins, factor, .. } = mel.shape;
    assert!(samples > window / 2, "{samples} samples, the window has {window}");
    let frames = mel.frames(samples);
    let analysis = analysis([batch, samples], mel);
    let shape = device.call("log_mel", &[sounds.shape()], analysis);
    match device {
        Device::Cpu(_) => {
            let spectra = sounds.f32s().chunks_exact(samples).flat_map(|sound| mel.log(sound));
            Tensor::from_f32(&shape, spectra.collect())
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let spectrum = Spectrum { window, bins };
            let Some(kernel) = gpu.choose_for(&spectrum, &kernels(mel)) else {
                let mel = mel.clone();
                return on_host(gpu, "log_mel", &[Input::Floats(sounds)], y, move |cpu, x, _| {
                    log_mel(cpu, &x[0], &mel)
                });
            };
            let (table, spans, weights) = tables(mel);
            let table = device.upload(&[3, window], table);
            let spans = device.upload_u32(&[bins, 3], spans);
            let weights = device.upload(&[weights.len()], weights);
            let rows = batch * frames;
            let sizes = [rows, frames, samples, hop, bins].map(|n| n as u32);
            let params = [&sizes[..], &[FLOOR.to_bits(), factor.to_bits()]].concat();
            let binds = [
                Bind::Read(1, sounds),
                Bind::Read(2, &table),
                Bind::Read(3, &spans),
                Bind::Read(4, &weights),
                Bind::Write(5, &y),
            ];
            gpu.dispatch(&kernel, &params, &binds, [rows, 1]);
            y
        }
    }
}

/// The window and the roots of unity; of each triangle its first frequency, its length and the place
/// of its weights; all weights.
fn tables(mel: &Mel) -> (Vec<f32>, Vec<u32>, Vec<f32>) {
    let length = mel.shape.window;
    let angle = |i: usize| TAU * i as f64 / length as f64;
    let mut table: Vec<f32> = mel.window.iter().map(|x| *x as f32).collect();
    table.extend((0..length).map(|i| angle(i).cos() as f32));
    table.extend((0..length).map(|i| -angle(i).sin() as f32));
    let (mut spans, mut weights) = (Vec::new(), Vec::new());
    for triangle in &mel.triangles {
        spans.extend([triangle.first, triangle.weights.len(), weights.len()].map(|n| n as u32));
        weights.extend(triangle.weights.iter().map(|weight| *weight as f32));
    }
    (table, spans, weights)
}

/// Whisper's windows and CLAP's.
fn shapes() -> [(&'static str, MelShape); 2] {
    let whisper = MelShape {
        rate: 16_000,
        window: 400,
        hop: 160,
        bins: 80,
        range: [0.0, 8000.0],
        scale: Scale::Slaney,
        factor: 1.0,
    };
    let clap = MelShape {
        rate: 48_000,
        window: 1024,
        hop: 480,
        bins: 64,
        range: [50.0, 14_000.0],
        scale: Scale::Htk,
        factor: 10.0,
    };
    [("whisper", whisper), ("clap", clap)]
}

/// A falling tone in noise; the first sound begins in silence, the second is twice as loud.
fn sounds(samples: usize) -> Vec<f32> {
    let noise = normal(1, 2 * samples);
    let sound = |(i, noise): (usize, f32)| {
        let t = (i % samples) as f32 / samples as f32;
        let tone = (900.0 * (t - 0.3 * t * t)).sin();
        match i {
            ..1100 => 0.0,
            _ => (0.3 * tone + 0.01 * noise) * (1 + i / samples) as f32,
        }
    };
    noise.into_iter().enumerate().map(sound).collect()
}

pub(super) fn choices() -> Vec<Choice> {
    shapes()
        .map(|(name, shape)| {
            let mel = Mel::new(shape).expect("sizes that are published");
            Choice::new("log_mel", name, kernels(&mel))
        })
        .into()
}

pub(super) fn checks() -> Vec<Check> {
    shapes()
        .map(|(name, shape)| {
            Check::new(format!("log_mel {name}"), move |device| {
                let mel = Mel::new(shape).expect("sizes that are published");
                let sounds = device.upload(&[2, 2000], sounds(2000));
                vec![log_mel(device, &sounds, &mel)]
            })
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transform summed up as it is defined, and triangles looked up by frequency.
    #[test]
    fn a_spectrum_is_what_its_definition_says() {
        for (name, shape) in shapes() {
            let mel = Mel::new(shape).unwrap();
            let samples = sounds(1500);
            let sounds = Tensor::from_f32(&[2, 1500], samples.clone());
            let spectrum = log_mel(&Device::cpu(), &sounds, &mel);
            let frames = 1 + 1500 / shape.hop;
            assert_eq!(spectrum.shape(), [2, frames, shape.bins]);
            // The second frame of the second sound, which begins before the sound does.
            let at = |n: usize| {
                let place = (shape.hop + n) as i64 - shape.window as i64 / 2;
                f64::from(samples[1500 + place.unsigned_abs() as usize]) * mel.window[n]
            };
            let power = |k: usize| {
                let angle = |n: usize| -TAU * (n * k % shape.window) as f64 / shape.window as f64;
                let re: f64 = (0..shape.window).map(|n| at(n) * angle(n).cos()).sum();
                let im: f64 = (0..shape.window).map(|n| at(n) * angle(n).sin()).sum();
                re * re + im * im
            };
            for bin in [0, shape.bins / 2, shape.bins - 1] {
                let triangle = &mel.triangles[bin];
                let weights = triangle.weights.iter().enumerate();
                let sum: f64 = weights.map(|(i, w)| w * power(triangle.first + i)).sum();
                let wanted = sum.max(1e-10).log10() * f64::from(shape.factor);
                let got = spectrum.f32s()[(frames + 1) * shape.bins + bin];
                assert!((f64::from(got) - wanted).abs() < 1e-5, "{name} {bin}: {got} {wanted}");
            }
        }
    }

    #[test]
    fn silence_is_the_floor() {
        for (_, shape) in shapes() {
            let mel = Mel::new(shape).unwrap();
            let spectrum =
                log_mel(&Device::cpu(), &Tensor::from_f32(&[1, 600], vec![0.0; 600]), &mel);
            assert!(spectrum.f32s().iter().all(|x| (x + 10.0 * shape.factor).abs() < 1e-5));
        }
    }
}
