//! Runs every op on small data on the user's GPU and compares it with the CPU, before any model is
//! trusted to it.
//!
//! Outputs are poisoned and each op runs under an error scope: a browser that refuses a pipeline
//! otherwise leaves zeros behind and goes on. A kernel that is wrong or refused is not used any more:
//! its op takes the next of its kernels, or runs on the CPU where none is left, and is checked again.

use crate::{
    device::{Device, Gpu, Kernel},
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
pub(crate) const GPU_TOLERANCE: f64 = 2e-5;
/// Largest distance of the CPU's integer kernels from the reference: activations have 15 bits.
pub(crate) const CPU_TOLERANCE: f64 = 1e-4;

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
    verdict(&check.op, Ok(distance(check, &got)), CPU_TOLERANCE)
}

/// How far outputs are from what was expected: infinite for indices that differ.
fn distance(check: &Check, got: &[Vec<u32>]) -> f64 {
    let distances = check.expected().iter().zip(got).map(|(expected, got)| match check.indices {
        true if expected.u32s() == got => 0.0,
        true => f64::MAX,
        false => rel_l2(bytemuck::cast_slice(got), expected.f32s()).min(f64::MAX),
    });
    distances.fold(0.0, f64::max)
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
    let recorded: Vec<_> =
        checks.clone().map(|check| gpu.scoped(|| gpu.watch(|| (check.run)(&device)))).collect();
    drop(poison);
    let outputs: Vec<&Tensor> = recorded.iter().flat_map(|((outputs, _), _)| outputs).collect();
    let mut words = gpu.read(&outputs).await.map(Vec::into_iter);
    // A read that fails for all, as the device is lost, says nothing of any kernel.
    let says_nothing = words.is_err() && recorded.len() > 1;

    let mut results = Vec::new();
    for (check, ((outputs, mut watched), caught)) in checks.zip(recorded) {
        let got = words.as_mut().map(|words| words.take(outputs.len()).collect::<Vec<_>>());
        let distance = match (caught.await, got) {
            (Some(refused), _) => Err(Error::device(&check.op, refused)),
            (None, Err(error)) => {
                if says_nothing {
                    watched.kernels.clear();
                }
                Err(error.clone())
            }
            (None, Ok(got)) => Ok(distance(check, &got)),
        };
        let tolerance = if watched.hosted.is_empty() { GPU_TOLERANCE } else { CPU_TOLERANCE };
        let check = verdict(&check.op, distance, tolerance);
        results.push(Ran { check, kernels: watched.kernels, hosted: watched.hosted });
    }
    gpu.forget();
    results
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{
        device::{Bind, Capabilities, Geometry, Terms, Tuning},
        ops::choices,
    };

    /// Needs a Vulkan driver; `harness setup` installs lavapipe where there is none.
    fn gpu() -> Rc<Gpu> {
        pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe")
    }

    /// Every kernel that an op can prefer, in every variant, and then every one that it falls back to or that a
    /// tuning can pick: each is dispatched and right.
    #[test]
    fn every_kernel_is_right_on_the_native_gpu() {
        let gpu = gpu();
        let device = Device::Gpu(Rc::clone(&gpu));
        let checks = ops::all_checks();
        let mut left: BTreeSet<Kernel> =
            choices().into_iter().flat_map(|choice| choice.kernels).collect();
        let all = gpu.terms().capabilities;
        let hardware = Capabilities { software: false, ..all };
        left.retain(|kernel| [all, hardware].iter().any(|it| it.lacks(kernel).is_none()));
        let none = |some| Capabilities { subgroups: false, f16: false, ..some };
        for capabilities in [all, none(all), hardware, none(hardware)] {
            gpu.set_terms(Terms { capabilities, ..Terms::default() });
            right(&gpu, checks.iter(), &mut left);
        }
        // Of what is left, one after another goes over all others.
        for capabilities in [all, hardware] {
            let mut wanted: Vec<&Check> = checks.iter().collect();
            while left.iter().any(|kernel| capabilities.lacks(kernel).is_none()) {
                let favoured = left.iter().copied().collect();
                gpu.set_terms(Terms { capabilities, favoured, ..Terms::default() });
                let rehearse =
                    |check: &Check| gpu.watch(|| gpu.discard(|| drop((check.run)(&device)))).1;
                // What takes none of them now takes none of fewer.
                wanted.retain(|check| !rehearse(check).kernels.is_disjoint(&left));
                if wanted.is_empty() {
                    break;
                }
                right(&gpu, wanted.iter().copied(), &mut left);
            }
        }
        assert!(left.is_empty(), "no check dispatches {left:?}");
    }

    /// Runs checks, of which each must be right, and takes what they dispatch from a list.
    fn right<'a>(
        gpu: &Rc<Gpu>,
        checks: impl Iterator<Item = &'a Check> + Clone,
        left: &mut BTreeSet<Kernel>,
    ) {
        for ran in pollster::block_on(run_checks(gpu, checks)) {
            assert_eq!(ran.check.error, None, "{} {:?}", ran.check.op, ran.kernels);
            left.retain(|kernel| !ran.kernels.contains(kernel));
        }
    }

    #[test]
    fn every_op_is_right_on_the_cpu() {
        for check in ops::all_checks() {
            assert_eq!(on_cpu(&check).error, None, "{}", check.op);
        }
    }

    /// Grids have 65,535 workgroups a dimension: what needs more is folded.
    #[test]
    fn a_folded_grid_reaches_the_last_element() {
        let device = Device::Gpu(gpu());
        let count = 65_536 * 64 + 5;
        let x = device.upload(&[count], vec![1.5; count]);
        let y = ops::add(&device, &x, &device.upload(&[1], vec![2.0]));
        let y = pollster::block_on(device.read(&[&y])).unwrap().remove(0);
        assert!(y.iter().all(|y| *y == 3.5));
    }

    /// A tuning takes a kernel that no rule would, and only for the call that it names.
    #[test]
    fn a_tuned_call_computes_the_same_by_another_kernel() {
        let gpu = gpu();
        let checks: Vec<Check> = ops::checks()
            .into_iter()
            .filter(|check| check.op.starts_with("matmul q4 symmetric g32 69×"))
            .collect();
        let run = |picks: Vec<(&str, String)>| {
            let capabilities = Capabilities { software: false, ..gpu.terms().capabilities };
            let tuning = Tuning::new(picks);
            gpu.set_terms(Terms { capabilities, tuning, ..Terms::default() });
            let mut ran = pollster::block_on(run_checks(&gpu, checks.iter()));
            ran.retain(|ran| ran.check.op == "matmul q4 symmetric g32 69×96×40");
            assert_eq!(ran[0].check.error, None);
            ran.remove(0).kernels
        };
        let by_rules = run(vec![]);
        assert!(by_rules.iter().all(|kernel| kernel.source == "matmul_teams"), "{by_rules:?}");
        let small = "matmul_slabs HARDWARE=1 LOW=1 BITS=4 GROUP=32 ASYM=0 WG=128 TILE=64×32";
        let call = "matmul ≤128×96×40 q4 symmetric g32";
        let tuned = run(vec![(call, small.to_owned())]);
        assert_eq!(tuned.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>(), [small]);
        let another = "matmul ≤128×96×41 q4 symmetric g32";
        assert_eq!(run(vec![(another, small.to_owned())]), by_rules);
        assert_eq!(run(vec![(call, "matmul_slabs of tomorrow".to_owned())]), by_rules);
        gpu.untune();
        assert!(gpu.terms().tuning.is_empty());
    }

    /// Fresh buffers hold zeros: without poison, a kernel that does not run passes for one that
    /// computed them.
    #[test]
    fn a_kernel_that_does_not_run_leaves_rubbish() {
        let idle = Check::new("idle", |device| match device {
            Device::Cpu(_) => vec![Tensor::from_f32(&[4], vec![0.0; 4])],
            Device::Gpu(gpu) => vec![gpu.alloc(&[4])],
        });
        let ran = pollster::block_on(run_checks(&gpu(), [idle].iter()));
        assert!(ran[0].check.error.is_some());
    }

    /// A kernel that the GPU refuses must fail its check even though nothing else notices.
    #[test]
    fn a_refused_kernel_is_noticed() {
        let broken = Check::new("broken", |device| {
            let x = device.upload(&[4], vec![1.0; 4]);
            if let Device::Gpu(gpu) = device {
                // `binary` has three buffers: a bind group of one is invalid.
                let y = gpu.alloc(&[4]);
                let kernel = Kernel::new("binary", Geometry::elements(64));
                gpu.dispatch(&kernel, &[4, 4], &[Bind::Write(3, &y)], [4, 1]);
                return vec![y];
            }
            vec![x]
        });
        let checks = [broken, ops::checks().remove(0)];
        let ran = pollster::block_on(run_checks(&gpu(), checks.iter()));
        let error = ran[0].check.error.as_ref().expect("the kernel is invalid");
        assert!(error.contains("broken"), "{error}");
        assert_eq!(ran[1].check.error, None);
    }

    /// Texts with a fault in the place of files.
    fn broken(faults: &[(&'static str, &str, &str)]) -> shaders::Files {
        let mut files = shaders::Files::default();
        for (file, before, after) in faults {
            let text = files.text(file).expect("a file").to_owned();
            assert!(text.contains(before), "{file} has no {before:?}");
            files.replace(file, text.replace(before, after));
        }
        files
    }

    /// One kernel by subgroups is wrong, one is refused, one is right: nobody else pays.
    #[test]
    fn a_wrong_kernel_gives_way_to_the_next_and_no_other_does() {
        let gpu = gpu();
        if !gpu.terms().capabilities.subgroups {
            return;
        }
        gpu.use_files(broken(&[
            ("softmax", "1.0 / reduce_sum", "\n#if SUBGROUPS\n2.0 *\n#endif\n1.0 / reduce_sum"),
            ("mean_pool", "let length", "\n#if SUBGROUPS\nnonsense\n#endif\nlet length"),
        ]));
        let verdicts = pollster::block_on(run(&Device::Gpu(Rc::clone(&gpu))));
        assert_eq!(verdicts.trial.failure, None);
        // A software adapter has them in narrow workgroups.
        let plain = |name: &str| name.replace(" SOFTWARE=1", "");
        let refused: Vec<String> = verdicts.refused.iter().map(|it| plain(&it.kernel)).collect();
        assert_eq!(refused, ["mean_pool NORMALISE=1 SUBGROUPS=1", "softmax SUBGROUPS=1"]);
        assert!(verdicts.refused[1].why.starts_with("softmax 4×5: "), "{:?}", verdicts.refused);
        assert!(verdicts.hosted.is_empty());
        let used = gpu.watched().kernels;
        let used = |name: &str| used.iter().any(|kernel| plain(&kernel.to_string()) == name);
        assert!(used("softmax") && used("norm SUBGROUPS=1") && !used("norm"));
    }

    /// Ops without a working kernel run on the CPU amid the others, and the verdict says so.
    #[test]
    fn an_op_without_a_kernel_runs_on_the_host() {
        let gpu = gpu();
        gpu.use_files(broken(&[
            ("norm", "fn compute_row", "fn other_row"),
            ("weights", "return unpack2x16float(word)", "return vec2<f32>(0.0)"),
        ]));
        let verdicts = pollster::block_on(run(&Device::Gpu(Rc::clone(&gpu))));
        assert_eq!(verdicts.trial.failure, None);
        let hosted: Vec<&str> = verdicts.hosted.iter().map(|it| it.op.as_str()).collect();
        assert_eq!(hosted, ["embed", "layer_norm", "matmul", "rms_norm"]);
        // What rounds for integer products is used by nothing else that is left here.
        let refused = |kernel: &RefusedKernel| {
            kernel.kernel.starts_with("norm")
                || kernel.kernel.contains("ASYM=1")
                || kernel.kernel == "round_rows"
        };
        assert!(verdicts.refused.iter().all(refused), "{:?}", verdicts.refused);
    }

    /// Every op at once, without a single kernel.
    #[test]
    fn the_host_can_do_every_op() {
        let gpu = gpu();
        let refused = choices().into_iter().flat_map(|choice| choice.kernels).collect();
        gpu.set_terms(Terms { refused, ..Terms::default() });
        for ran in pollster::block_on(run_checks(&gpu, ops::checks().iter())) {
            assert_eq!(ran.check.error, None, "{}", ran.check.op);
            assert!(ran.kernels.is_empty(), "{} used {:?}", ran.check.op, ran.kernels);
        }
    }
}
