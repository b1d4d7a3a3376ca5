//! Runs every op on small data on the user's GPU and compares it with the CPU, before any model is
//! trusted to it.
//!
//! Outputs are poisoned and each op runs under an error scope: a browser that refuses a pipeline
//! otherwise leaves zeros behind and goes on. A kernel that is wrong or refused is not used any more:
//! its op takes the next of its kernels, or runs on the CPU where none is left, and is checked again.

use crate::{
    device::{Caches, Device, Gpu, Kept, Kernel},
    error::{Error, Result},
    ops::{self, Check},
    tensor::Tensor,
    testing::rel_l2,
};
use record::{HostedOp, RefusedKernel, SelfCheck, VariantTrial};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// Largest distance of a GPU kernel from the reference: sums are in another order, and WGSL allows
/// exp and tanh a few ulp.
const FLOATS: f64 = 2e-5;
/// Largest distance of integer kernels from the reference, where activations have 15 or 16 bits: all of the CPU's, and
/// a GPU's for rows that were rounded before.
const ROUNDED: f64 = 1e-4;
/// Largest distance where a cache has codes. A number that lies between two goes to the one here and to the other there,
/// for no fault of either, so the reference reads those of the GPU where they may be its own.
const STORED: f64 = 2e-3;
/// The same where tokens make room for others, of which the reference has none but its own.
const DROPPED: f64 = 2e-2;

/// The largest distance from the reference that is allowed to what `device` computes by these kernels.
pub(crate) fn tolerance<'a>(device: &Device, kernels: impl IntoIterator<Item = &'a Kernel>) -> f64 {
    match device {
        Device::Cpu(_) => ROUNDED,
        Device::Gpu(_) => {
            let of = |kernel: &Kernel| match (kernel.value("K_BITS"), kernel.value("ROUNDED")) {
                (1..=8, _) if kernel.value("RING") == 1 => DROPPED,
                (1..=8, _) => STORED,
                (_, 0) => FLOATS,
                _ => ROUNDED,
            };
            kernels.into_iter().map(of).fold(FLOATS, f64::max)
        }
    }
}

/// What came of a self-test.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Every op's check, with the kernels that are in use.
    pub checks: Vec<SelfCheck>,
    /// The checks summed up.
    pub trial: VariantTrial,
    /// Kernels that are not used any more.
    pub refused: Vec<RefusedKernel>,
    /// Ops that the CPU computes, as they have no kernel left.
    pub hosted: Vec<HostedOp>,
}

/// Checks every op, and leaves a GPU with kernels that pass.
pub async fn run(device: &Device) -> Verdicts {
    let mut verdicts = match device {
        Device::Cpu(_) => {
            Verdicts { checks: ops::checks().iter().map(on_cpu).collect(), ..Verdicts::default() }
        }
        Device::Gpu(gpu) => on_gpu(gpu, ops::checks()).await,
    };
    let failure = verdicts
        .checks
        .iter()
        .find_map(|check| check.error.as_ref().map(|error| format!("op {}: {error}", check.op)));
    let checks = verdicts.checks.len() as u32;
    verdicts.trial = VariantTrial { variant: device.variant(), checks, failure };
    verdicts
}

fn on_cpu(check: &Check) -> SelfCheck {
    let device = Device::cpu();
    let got: Vec<Vec<u32>> = (check.run)(&device).iter().map(Tensor::words).collect();
    verdict(&check.op, Ok(distance(check, check.expected(), &got)), tolerance(&device, []))
}

/// How far outputs are from what was expected: infinite for indices that differ.
fn distance(check: &Check, expected: &[Tensor], got: &[Vec<u32>]) -> f64 {
    let distances = expected.iter().zip(got).map(|(expected, got)| match check.indices {
        true if expected.u32s() == got => 0.0,
        true => f64::MAX,
        false => rel_l2(bytemuck::cast_slice(got), expected.f32s()).min(f64::MAX),
    });
    distances.fold(0.0, f64::max)
}

/// The same where the reference reads the codes that were stored, as far as they may be its own.
fn with_codes(check: &Check, kept: Kept, got: &[Vec<u32>]) -> f64 {
    let reference = Device::reference().with_caches(kept.given());
    distance(check, &(check.run)(&reference), got)
}

fn verdict(op: &str, distance: Result<f64>, tolerance: f64) -> SelfCheck {
    let (rel_l2, error) = match distance {
        Ok(distance) if distance <= tolerance => (distance, None),
        Ok(distance) => {
            let text =
                format!("{distance:.1e} away from the reference, {tolerance:.0e} is allowed");
            (distance, Some(text))
        }
        Err(error) => (f64::MAX, Some(error.to_string())),
    };
    SelfCheck { op: op.to_owned(), rel_l2, error }
}

/// Runs checks until the kernels in use pass, or nothing is left to put in the place of one that does
/// not.
async fn on_gpu(gpu: &Rc<Gpu>, checks: Vec<Check>) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let mut latest: Vec<Option<Ran>> = checks.iter().map(|_| None).collect();
    let mut waiting: Vec<usize> = (0..checks.len()).collect();
    while !waiting.is_empty() {
        let ran = run_checks(gpu, waiting.iter().map(|at| &checks[*at])).await;
        for (at, ran) in waiting.drain(..).zip(ran) {
            latest[at] = Some(ran);
        }
        let guilty = blame(latest.iter().flatten());
        let mut terms = gpu.terms().clone();
        for (kernel, why) in guilty {
            verdicts.refused.push(RefusedKernel { kernel: kernel.to_string(), why });
            terms.refused.insert(kernel);
        }
        // Whoever used a kernel that is gone has another one now, which may be wrong as well.
        let used = |ran: &Ran| ran.kernels.iter().any(|kernel| terms.refused.contains(kernel));
        waiting.extend((0..latest.len()).filter(|at| latest[*at].as_ref().is_some_and(used)));
        gpu.set_terms(terms);
    }
    for op in latest.iter().flatten().flat_map(|ran| ran.hosted.iter()).collect::<BTreeSet<_>>() {
        verdicts.hosted.push(HostedOp {
            op: (*op).to_owned(),
            why: "none of its kernels passes the self-test".to_owned(),
        });
    }
    verdicts.checks = latest.into_iter().flatten().map(|ran| ran.check).collect();
    verdicts
}

/// A check that was run.
pub(crate) struct Ran {
    pub(crate) check: SelfCheck,
    pub(crate) kernels: BTreeSet<Kernel>,
    hosted: BTreeSet<&'static str>,
}

/// The kernels that failing checks are put down to, with the failure. A check may use several: the
/// one is blamed whose own checks fail most often, and of equals the one that explains more failures.
fn blame<'a>(ran: impl Iterator<Item = &'a Ran> + Clone) -> BTreeMap<Kernel, String> {
    let mut counts: BTreeMap<Kernel, (f64, f64)> = BTreeMap::new();
    for (kernel, failed) in ran.clone().flat_map(|ran| {
        ran.kernels.iter().map(|kernel| (*kernel, f64::from(u8::from(ran.check.error.is_some()))))
    }) {
        let (failures, all) = counts.entry(kernel).or_default();
        *failures += failed;
        *all += 1.0;
    }
    let score = |kernel: &Kernel| {
        let (failures, all) = counts[kernel];
        (failures / all, failures)
    };
    let mut guilty = BTreeMap::new();
    for ran in ran {
        let Some(error) = &ran.check.error else { continue };
        let worst = ran
            .kernels
            .iter()
            .map(score)
            .fold((0.0, 0.0), |worst, score| if score > worst { score } else { worst });
        for kernel in ran.kernels.iter().filter(|kernel| score(kernel) == worst) {
            guilty.entry(*kernel).or_insert_with(|| format!("{}: {error}", ran.check.op));
        }
    }
    guilty
}

/// Runs checks: first those that need no host, all at once, then the others one by one. What a host
/// step waits for is encoded when its error scope is long closed.
pub(crate) async fn run_checks<'a>(
    gpu: &Rc<Gpu>,
    checks: impl Iterator<Item = &'a Check> + Clone,
) -> Vec<Ran> {
    let device = Device::Gpu(Rc::clone(gpu));
    // All pipelines are asked for at once, and then made of what has come. One that is refused fails
    // again wherever a check uses it, and is not to fail a check that does not.
    let rehearse = |check: &Check| gpu.watch(|| gpu.discard(|| drop((check.run)(&device)))).1;
    let (planned, refused) = gpu.caught(|| checks.clone().map(rehearse).collect::<Vec<_>>());
    drop(refused);
    gpu.make_ahead().await;
    drop(gpu.scoped(|| ()));
    let checks: Vec<&Check> = checks.collect();
    let (together, alone): (Vec<usize>, Vec<usize>) =
        (0..checks.len()).partition(|at| planned[*at].hosted.is_empty());
    let mut ran: Vec<(usize, Ran)> = Vec::new();
    for batch in std::iter::once(&together[..]).chain(alone.chunks(1)) {
        let results = run_batch(gpu, batch.iter().map(|at| checks[*at])).await;
        ran.extend(batch.iter().copied().zip(results));
    }
    ran.sort_by_key(|(at, _)| *at);
    ran.into_iter().map(|(_, ran)| ran).collect()
}

/// Records every check under an error scope of its own, and reads all outputs at once: some browsers
/// answer a read only every few milliseconds.
async fn run_batch<'a>(gpu: &Rc<Gpu>, checks: impl Iterator<Item = &'a Check> + Clone) -> Vec<Ran> {
    let device = Device::Gpu(Rc::clone(gpu));
    let poison = gpu.poison();
    let run = |check: &Check| {
        let caches = if check.stores { Caches::kept() } else { Caches::default() };
        let keeping = device.with_caches(caches.clone());
        let outputs = (check.run)(&keeping);
        let rows = caches.tensors();
        (outputs, caches, rows)
    };
    let recorded: Vec<_> =
        checks.clone().map(|check| gpu.scoped(|| gpu.watch(|| run(check)))).collect();
    drop(poison);
    let outputs: Vec<&Tensor> = recorded
        .iter()
        .flat_map(|(((outputs, _, rows), _), _)| outputs.iter().chain(rows))
        .collect();
    let mut words = gpu.read(&outputs).await.map(Vec::into_iter);
    // A read that fails for all, as the device is lost, says nothing of any kernel.
    let says_nothing = words.is_err() && recorded.len() > 1;

    let mut results = Vec::new();
    for (check, (((outputs, caches, rows), mut watched), caught)) in checks.zip(recorded) {
        let got = words.as_mut().map(|words| {
            let got: Vec<_> = words.take(outputs.len()).collect();
            (got, caches.with_words(words.take(rows.len())))
        });
        let tolerance = match watched.hosted.is_empty() {
            true => tolerance(&device, &watched.kernels),
            false => ROUNDED,
        };
        let distance = match (caught.await, got) {
            (Some(refused), _) => Err(Error::device(&check.op, refused)),
            (None, Err(error)) => {
                if says_nothing {
                    watched.kernels.clear();
                }
                Err(error.clone())
            }
            (None, Ok((got, kept))) => Ok(match distance(check, check.expected(), &got) {
                // The reference is asked again only where its own codes do not do.
                distance if check.stores && distance > tolerance => with_codes(check, kept, &got),
                distance => distance,
            }),
        };
        let check = verdict(&check.op, distance, tolerance);
        results.push(Ran { check, kernels: watched.kernels, hosted: watched.hosted });
    }
    gpu.forget();
    results
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
