//! Runs every op on small data on the user's GPU and compares it with the CPU, before any model is
//! trusted to it.
//!
//! Outputs are poisoned and each op runs under an error scope: a browser that refuses a pipeline
//! otherwise leaves zeros behind and goes on. A variant that fails (subgroups, f16) is switched off
//! and the rest is tried again; only what the plain kernels get wrong is a failure.

use crate::{
    device::{Device, Gpu, Variant},
    error::{Error, Result},
    ops::{self, Check},
    tensor::Tensor,
    testing::rel_l2,
};
use record::{SelfCheck, VariantTrial};
use std::rc::Rc;

/// Largest distance of a GPU kernel from the reference: sums are in another order, and WGSL allows
/// exp and tanh a few ulp.
const GPU_TOLERANCE: f64 = 2e-5;
/// Largest distance of the CPU's integer kernels from the reference: activations have 15 bits.
const CPU_TOLERANCE: f64 = 1e-4;

/// Checks every op, and leaves a GPU with the fastest variant that passes. Gives the checks of the
/// variant that it leaves, and what came of each variant that was tried.
pub async fn run(device: &Device) -> (Vec<SelfCheck>, Vec<VariantTrial>) {
    let Device::Gpu(gpu) = device else {
        let checks = run_cpu(device);
        let trial = trial(device.variant(), &checks);
        return (checks, vec![trial]);
    };
    let mut tried = Vec::new();
    loop {
        let variant = gpu.variant();
        let checks = run_variant(gpu).await;
        let trial = trial(variant.to_string(), &checks);
        let failed = trial.failure.is_some();
        tried.push(trial);
        if !failed || variant == Variant::default() {
            return (checks, tried);
        }
        // One feature less at a time: subgroups are the likelier culprit.
        gpu.set_variant(match variant.subgroups {
            0 => Variant::default(),
            _ => Variant { subgroups: 0, ..variant },
        });
    }
}

fn trial(variant: String, checks: &[SelfCheck]) -> VariantTrial {
    let failure = checks
        .iter()
        .find_map(|check| check.error.as_ref().map(|error| format!("op {}: {error}", check.op)));
    VariantTrial { variant, checks: checks.len() as u32, failure }
}

fn run_cpu(device: &Device) -> Vec<SelfCheck> {
    let run = |check: Check| {
        let (expected, got) = ((check.run)(&Device::reference()), (check.run)(device));
        let distances = expected.iter().zip(&got).map(|(expected, got)| match check.indices {
            true if expected.u32s() == got.u32s() => 0.0,
            true => f64::MAX,
            false => rel_l2(got.f32s(), expected.f32s()).min(f64::MAX),
        });
        let distance = distances.fold(0.0, f64::max);
        verdict(check.op, Ok(distance), CPU_TOLERANCE)
    };
    ops::checks().into_iter().map(run).collect()
}

fn verdict(op: String, distance: Result<f64>, tolerance: f64) -> SelfCheck {
    let (rel_l2, error) = match distance {
        Ok(distance) if distance <= tolerance => (distance, None),
        Ok(distance) => {
            let text =
                format!("{distance:.1e} away from the reference, {tolerance:.0e} is allowed");
            (distance, Some(text))
        }
        Err(error) => (f64::MAX, Some(error.to_string())),
    };
    SelfCheck { op, rel_l2, error }
}

async fn run_variant(gpu: &Rc<Gpu>) -> Vec<SelfCheck> {
    run_checks(gpu, ops::checks()).await
}

/// Records every check under an error scope of its own, and reads all outputs at once: some browsers
/// answer a read only every 100 ms.
async fn run_checks(gpu: &Rc<Gpu>, checks: Vec<Check>) -> Vec<SelfCheck> {
    let device = Device::Gpu(Rc::clone(gpu));
    let poison = gpu.poison();
    let recorded: Vec<_> = checks.iter().map(|check| gpu.scoped(|| (check.run)(&device))).collect();
    drop(poison);
    let outputs: Vec<&Tensor> = recorded.iter().flat_map(|(outputs, _)| outputs).collect();
    let mut words = gpu.read(&outputs).await.map(Vec::into_iter);

    let mut results = Vec::new();
    for (check, (outputs, caught)) in checks.iter().zip(recorded) {
        let expected = (check.run)(&Device::reference());
        let got = words.as_mut().map(|words| words.take(outputs.len()).collect::<Vec<_>>());
        let distance = match (caught.await, got) {
            (Some(refused), _) => Err(Error::device(&check.op, refused)),
            (None, Err(error)) => Err(error.clone()),
            (None, Ok(got)) => {
                let distances =
                    expected.iter().zip(got).map(|(expected, got)| match check.indices {
                        true if expected.u32s() == got => 0.0,
                        true => f64::MAX,
                        false => rel_l2(bytemuck::cast_slice(&got), expected.f32s()).min(f64::MAX),
                    });
                Ok(distances.fold(0.0, f64::max))
            }
        };
        results.push(verdict(check.op.clone(), distance, GPU_TOLERANCE));
    }
    gpu.forget();
    results
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    /// Needs a Vulkan driver; `harness setup` installs lavapipe where there is none.
    #[test]
    fn every_op_is_right_on_the_native_gpu() {
        let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        let best = gpu.variant();
        for variant in [best, Variant::default()] {
            gpu.set_variant(variant);
            let checks = pollster::block_on(run_variant(&gpu));
            for check in &checks {
                assert_eq!(check.error, None, "{} ({variant})", check.op);
            }
            assert!(checks.len() > 80);
        }
    }

    /// A trial is what says in a record which variant a device had to do without, and why.
    #[test]
    fn a_trial_tells_the_first_failure() {
        let check = |op: &str, error: Option<&str>| SelfCheck {
            op: op.to_owned(),
            rel_l2: 0.0,
            error: error.map(str::to_owned),
        };
        let checks = [check("add", None), check("softmax", Some("all zeros"))];
        assert_eq!(trial("f16".into(), &checks[..1]).failure, None);
        let failed = trial("f16".into(), &checks);
        assert_eq!((failed.checks, failed.failure.as_deref()), (2, Some("op softmax: all zeros")));
    }

    #[test]
    fn every_op_is_right_on_the_cpu() {
        for check in run_cpu(&Device::cpu()) {
            assert_eq!(check.error, None, "{}", check.op);
        }
    }

    /// A kernel that the GPU refuses must fail its check even though nothing else notices.
    #[test]
    fn a_refused_kernel_is_noticed() {
        let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        let check = Check {
            op: "broken".to_owned(),
            run: Box::new(|device| {
                let x = device.upload(&[4], vec![1.0; 4]);
                if let Device::Gpu(gpu) = device {
                    // `binary` has three buffers: a layout without them is invalid.
                    let y = gpu.alloc(&[4]);
                    let bind = crate::device::Bind::Write(3, &y);
                    gpu.dispatch(
                        "binary",
                        &[("WG", 64), ("PRODUCT", 0)],
                        &[4, 4],
                        &[bind],
                        [1, 1, 1],
                    );
                    return vec![y];
                }
                vec![x]
            }),
            indices: false,
        };
        let right = ops::checks().remove(0);
        let results = pollster::block_on(run_checks(&gpu, vec![check, right]));
        let error = results[0].error.as_ref().expect("the kernel is invalid");
        assert!(error.contains("broken"), "{error}");
    }
}
