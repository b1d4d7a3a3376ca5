//! What a GPU can do at most, as far as plain kernels show it: bytes that only move, arithmetic that needs
//! none, dispatches that do nothing, and a read-back.
//!
//! They are not the figures of a data sheet, and no kernel of an op has to stay below them by law: they are
//! what this adapter gave, through this browser, on the same day as the calls beside them. Each result is
//! compared with what it must be.

use crate::{
    device::{Bind, Device, Geometry, Gpu, Kernel},
    embedder::Embedder,
    error::{Error, Result},
    tensor::Tensor,
    time::now_ms,
    timed::{self, Calls, Effort, Ran, time},
};
use record::{CallTime, Ceiling, CeilingKind};
use std::rc::Rc;

const WG: u32 = 64;
const fn memory(tile: u32) -> Kernel {
    Kernel::new("ceiling_memory", Geometry { workgroup: WG, tile: [tile, 1], folded: true })
}
const COPY: Kernel = memory(WG * 4);
const READ: Kernel = memory(WG * 16).with("READ", 1);
const F32: Kernel = Kernel::new("ceiling_arithmetic", Geometry::elements(WG));
const F16: Kernel = F32.with("F16", 1);
const DOT4: Kernel = F32.with("DOT4", 1);
const STEP: Kernel = Kernel::new("ceiling_step", Geometry::elements(WG));

/// Words after which the bytes that are moved repeat: 4 MiB, and whole tiles.
const PATTERN: usize = 1 << 20;
/// Dispatches of nothing that are recorded as one piece.
const STEPS: usize = 200;
/// Turns of a loop: lavapipe ends every loop of an invocation after 65,535 turns of all of them.
const MOST_ROUNDS: u32 = 1 << 13;
/// Read-backs that are timed.
const READ_BACKS: usize = 15;

/// The kernels that show a GPU's ceilings: no op uses them.
pub fn kernels() -> Vec<Kernel> {
    vec![COPY, READ, F32, F16, DOT4, STEP]
}

/// Measures all there are.
pub(super) async fn measure(
    gpu: &Rc<Gpu>,
    embedder: &dyn Embedder,
    effort: Effort,
) -> Vec<Ceiling> {
    let device = Device::Gpu(Rc::clone(gpu));
    let probe = Probe { gpu, device: &device, effort };
    let has_dot4 = match embedder.capabilities().await {
        Some(page) => page
            .wgsl_language_features
            .iter()
            .any(|feature| feature == "packed_4x8_integer_dot_product"),
        // naga always has it.
        None => true,
    };
    let mut ceilings = probe.memory().await;
    for (kind, kernel) in
        [(CeilingKind::F32, F32), (CeilingKind::F16, F16), (CeilingKind::Dot4I8, DOT4)]
    {
        let lacks = match kind {
            CeilingKind::Dot4I8 if !has_dot4 => Some("WGSL here has no dot4I8Packed"),
            _ => gpu.terms().capabilities.lacks(&kernel),
        };
        ceilings.push(match lacks {
            Some(lacks) => Ceiling { skipped: Some(lacks.to_owned()), ..nothing(kind) },
            None => ceiling(kind, probe.arithmetic(kernel).await),
        });
        gpu.forget();
    }
    ceilings.push(ceiling(CeilingKind::Dispatch, probe.dispatch().await));
    ceilings.push(ceiling(CeilingKind::ReadBack, probe.read_back().await));
    gpu.forget();
    ceilings
}

/// A time and what was done in it; the value follows.
pub(super) fn ceiling(kind: CeilingKind, measured: Result<(CallTime, u64)>) -> Ceiling {
    let (time, work) = match measured {
        Ok(measured) => measured,
        Err(Error::Unsupported { message }) => {
            return Ceiling { skipped: Some(message), ..nothing(kind) };
        }
        Err(error) => return Ceiling { error: Some(error.to_string()), ..nothing(kind) },
    };
    let value = match kind.unit() {
        "GB/s" => work as f64 / time.median_us / 1e3,
        "TFLOP/s" => work as f64 / time.median_us / 1e6,
        _ => time.median_us,
    };
    Ceiling { value: Some(value), time: Some(time), work, ..nothing(kind) }
}

fn nothing(kind: CeilingKind) -> Ceiling {
    Ceiling { kind, value: None, time: None, work: 0, skipped: None, error: None }
}

struct Probe<'a> {
    gpu: &'a Rc<Gpu>,
    device: &'a Device,
    effort: Effort,
}

impl Probe<'_> {
    fn is_software(&self) -> bool {
        self.gpu.terms().capabilities.software
    }

    async fn time(&self, count: usize, call: &dyn Fn(usize) -> Tensor) -> Result<Ran> {
        time(self.device, Calls { count, call }, self.effort).await
    }

    /// Reading, copying by a kernel and copying by the queue, of buffers that no cache holds.
    async fn memory(&self) -> Vec<Ceiling> {
        let wanted: u64 = if self.is_software() { 64 << 20 } else { 256 << 20 };
        let bytes = wanted.min(self.gpu.max_binding_bytes()) / (PATTERN as u64 * 4);
        let words = (bytes.max(1) as usize) * PATTERN;
        let buffer =
            |words: usize| Tensor::from_gpu(&[words], self.gpu.dedicated(words as u64 * 4));
        let (from, to) = (buffer(words), buffer(words));
        let pattern: Vec<u32> = (0..PATTERN as u32).map(scrambled).collect();
        for at in 0..words / PATTERN {
            let offset = (at * PATTERN * 4) as u64;
            self.gpu.write(from.buffer(), offset, bytemuck::cast_slice(&pattern));
        }
        let expected = sums(&pattern);
        let quads = words / 4;
        let sums = buffer(words / (READ.geometry.tile[0] / WG) as usize);
        let moves = |kernel: Kernel, x: &Tensor, y: &Tensor| {
            let binds = [Bind::Read(1, x), Bind::Write(2, y)];
            self.gpu.dispatch(&kernel, &[quads as u32], &binds, [quads, 1]);
            y.clone()
        };
        // What was copied is judged by its sums as well.
        let judge = async |ran: Ran, what: &str| {
            let got = self.gpu.read(&[&ran.output]).await?.remove(0);
            let is_right = got.chunks(expected.len()).all(|got| got == expected);
            is_right.then_some(ran.time).ok_or_else(|| Error::device(what, "the bytes are wrong"))
        };
        let read = async || {
            let ran = self.time(1, &|_| moves(READ, &from, &sums)).await?;
            let bytes = (words + sums.count()) as u64 * 4;
            Ok((judge(ran, "reading memory").await?, bytes))
        };
        let copy = async || {
            let ran = self.time(1, &|_| moves(COPY, &from, &to)).await?;
            let output = moves(READ, &to, &sums);
            Ok((judge(Ran { output, ..ran }, "copying memory").await?, words as u64 * 8))
        };
        let copy_buffer = async || {
            let ran = self.time(1, &|_| self.gpu.copy(&from)).await?;
            let output = moves(READ, &ran.output, &sums);
            Ok((judge(Ran { output, ..ran }, "copying a buffer").await?, words as u64 * 8))
        };
        vec![
            ceiling(CeilingKind::Read, read().await),
            ceiling(CeilingKind::Copy, copy().await),
            ceiling(CeilingKind::CopyBuffer, copy_buffer().await),
        ]
    }

    /// Invocations that do more and more rounds, until a dispatch is long against what it costs.
    async fn arithmetic(&self, kernel: Kernel) -> Result<(CallTime, u64)> {
        let invocations: usize = if self.is_software() { 1 << 13 } else { 1 << 18 };
        let is_dot4 = kernel.value("DOT4") != 0;
        let (a, b) = match is_dot4 {
            true => (0x0305_FB07, 0x9E37_79B9),
            false => (0.5f32.to_bits(), 1f32.to_bits()),
        };
        let y = self.gpu.alloc(&[invocations]);
        let mut rounds = 16u32;
        loop {
            let call = |_| {
                let binds = [Bind::Write(1, &y)];
                self.gpu.dispatch(&kernel, &[rounds, a, b], &binds, [invocations, 1]);
                y.clone()
            };
            let ran = self.time(1, &call).await?;
            if ran.time.median_us < 1000.0 && rounds < MOST_ROUNDS {
                rounds *= 8;
                continue;
            }
            let got = self.gpu.read(&[&ran.output]).await?.remove(0);
            let is_right = |(at, got): (usize, &u32)| match is_dot4 {
                true => *got == dots(at as u32, rounds, a, b),
                // 32 numbers that went to 2; f16 has eleven bits.
                false => (f32::from_bits(*got) - 64.0).abs() <= 0.1,
            };
            let judged = if is_dot4 { 64 } else { invocations };
            if !got.iter().take(judged).enumerate().all(is_right) {
                return Err(Error::device(kernel.to_string(), "the sums are wrong"));
            }
            // Eight sums of four pairs, twice a round.
            let pairs = 2 * 8 * 4 * u64::from(rounds) * invocations as u64;
            return Ok((ran.time, 2 * pairs));
        }
    }

    async fn dispatch(&self) -> Result<(CallTime, u64)> {
        let y = self.device.upload_u32(&[WG as usize], vec![0; WG as usize]);
        let before = self.gpu.read(&[&y]).await?.remove(0);
        let ran = self.time(STEPS, &|_| self.step(&y)).await?;
        let after = self.gpu.read(&[&ran.output]).await?.remove(0);
        let steps: Vec<u32> = after.iter().zip(&before).map(|(a, b)| a.wrapping_sub(*b)).collect();
        let timed = ran.time.calls * ran.time.samples_us.len() as u32;
        // More than were timed: warming up are some as well.
        let is_right = steps.iter().all(|count| *count == steps[0] && *count >= timed);
        is_right.then_some((ran.time, 1)).ok_or_else(|| {
            Error::device("counting dispatches", format!("{} of {timed} counted", steps[0]))
        })
    }

    fn step(&self, y: &Tensor) -> Tensor {
        self.gpu.dispatch(&STEP, &[], &[Bind::Write(1, y)], [WG as usize, 1]);
        y.clone()
    }

    /// What a token costs that has to be seen before the next one.
    async fn read_back(&self) -> Result<(CallTime, u64)> {
        let y = self.device.upload_u32(&[WG as usize], vec![0; WG as usize]);
        let one = self.gpu.alloc(&[1]);
        self.device.finish(&one).await?;
        let mut samples = Vec::new();
        let begun = now_ms();
        for _ in 0..READ_BACKS {
            self.step(&y);
            let start = now_ms();
            self.device.finish(&one).await?;
            samples.push(now_ms() - start);
        }
        Ok((timed::summary(record::TimedBy::Batches, &samples, 1, now_ms() - begun), 4))
    }
}

/// Words of which no neighbours are alike.
fn scrambled(at: u32) -> u32 {
    at.wrapping_mul(0x9E37_79B9) ^ at.rotate_left(13)
}

/// What the reading kernel gives of a row of words, which has whole tiles.
fn sums(words: &[u32]) -> Vec<u32> {
    let (lanes, tile) = (WG as usize, READ.geometry.tile[0] as usize);
    let mut sums = vec![0u32; words.len() / (tile / lanes)];
    for (at, word) in words.iter().enumerate() {
        let (quad, part) = (at / 4, at % 4);
        let sum = &mut sums[(quad / tile * lanes + quad % lanes) * 4 + part];
        *sum = sum.wrapping_add(*word);
    }
    sums
}

/// What an invocation of the arithmetic kernel gives in integers.
fn dots(at: u32, rounds: u32, a: u32, b: u32) -> u32 {
    let one = |first: u32| {
        let start = at.wrapping_add(first);
        (0..2 * rounds).fold(start, |sum, _| dot(sum, a).wrapping_add(b))
    };
    (0..8).map(one).fold(0, u32::wrapping_add)
}

/// `dot4I8Packed`.
fn dot(x: u32, a: u32) -> u32 {
    let pairs = x.to_le_bytes().into_iter().zip(a.to_le_bytes());
    pairs.map(|(x, a)| i32::from(x as i8) * i32::from(a as i8)).sum::<i32>() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_unit_of_its_kind() {
        let value = |kind, work| {
            let time = CallTime { median_us: 10.0, ..CallTime::default() };
            ceiling(kind, Ok((time, work))).value
        };
        assert_eq!(value(CeilingKind::Copy, 1_000_000), Some(100.0));
        assert_eq!(value(CeilingKind::F32, 10_000_000), Some(1.0));
        assert_eq!(value(CeilingKind::Dispatch, 1), Some(10.0));
        let lost = ceiling(CeilingKind::Copy, Err(Error::device("copying", "lost")));
        assert!(lost.value.is_none() && lost.error.unwrap().contains("lost"));
        let slow = ceiling(CeilingKind::Copy, Err(Error::unsupported("too slow")));
        assert_eq!((slow.error, slow.skipped.as_deref()), (None, Some("too slow")));
    }

    #[test]
    fn lanes_take_turns_within_a_tile() {
        let tile = READ.geometry.tile[0] as usize * 4;
        let mut words = vec![0; 2 * tile];
        // The first quad's last number, the one that its invocation reads next, and another tile's.
        (words[3], words[WG as usize * 4 + 3], words[tile + 1]) = (1, 2, 4);
        let sums = sums(&words);
        assert_eq!(sums.len(), 2 * WG as usize * 4);
        assert_eq!((sums[3], sums[WG as usize * 4 + 1]), (3, 4));
        assert_eq!(sums.iter().sum::<u32>(), 7);
    }

    #[test]
    fn a_dot_is_signed() {
        // (−1)·2 + 1·3, and (−128)·127 four times.
        assert_eq!(dot(0x0000_01FF, 0x0302), 1);
        assert_eq!(dot(0x8080_8080, 0x7F7F_7F7F) as i32, -4 * 128 * 127);
        assert_eq!(dots(5, 0, 0, 0), 8 * 5 + 28);
    }
}
