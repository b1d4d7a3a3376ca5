//! Every kernel and every op on the native GPU, and what a self-test makes of those that are wrong.

use super::*;
use crate::{
    device::{Bind, Capabilities, Geometry, Terms, Tuning},
    ops::choices,
};

/// Needs a Vulkan driver; `harness setup` installs lavapipe where there is none.
fn gpu() -> Rc<Gpu> {
    pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe")
}

/// Every kernel that an op can prefer, and then every one that it falls back to or that a tuning can pick: each is
/// dispatched and right, by one size of groups.
#[test]
fn every_kernel_is_right_on_the_native_gpu() {
    let checks = ops::all_checks();
    let kernels = choices().into_iter().flat_map(|choice| choice.kernels);
    let mut left: BTreeSet<Kernel> = kernels.filter(is_judged).collect();
    let all = gpu().terms().capabilities;
    let hardware = Capabilities { software: false, ..all };
    left.retain(|kernel| [all, hardware].iter().any(|it| it.lacks(kernel).is_none()));
    let none = |some| Capabilities { subgroups: false, f16: false, ..some };
    for capabilities in [all, none(all), hardware, none(hardware)] {
        right(Terms { capabilities, ..Terms::default() }, &mut checks.iter().collect(), &mut left);
    }
    // Of what is left, one after another goes over all others.
    for capabilities in [all, hardware] {
        let mut wanted: Vec<&Check> = checks.iter().collect();
        while left.iter().any(|kernel| capabilities.lacks(kernel).is_none()) {
            let favoured = left.iter().copied().collect();
            // What takes none of them now takes none of fewer.
            right(Terms { capabilities, favoured, ..Terms::default() }, &mut wanted, &mut left);
            if wanted.is_empty() {
                break;
            }
        }
    }
    assert!(left.is_empty(), "no check dispatches {left:?}");
}

/// Says that kernels are judged in all sizes of groups.
const EVERY_SIZE: &str = "FEWBIT_EVERY_GROUP_SIZE";

/// The size of groups by which kernels for so many bits are judged, with a minimum or without, as compiling each for
/// all three takes a software adapter minutes.
const SIZES: [(u32, [u32; 2]); 4] = [(8, [64, 128]), (4, [32, 64]), (3, [128, 32]), (2, [64, 32])];

fn is_judged(kernel: &Kernel) -> bool {
    let of = |(bits, sizes): &(u32, [u32; 2])| {
        (*bits == kernel.value("BITS")).then_some(sizes[kernel.value("ASYM") as usize])
    };
    let size = kernel.value("GROUP");
    size == 0
        || std::env::var_os(EVERY_SIZE).is_some()
        || SIZES.iter().find_map(of).is_none_or(|judged| judged == size)
}

/// Runs those checks that dispatch a kernel of a list, of which each must be right, and takes what they
/// dispatch from it. On a device of its own: thousands of pipelines in one take lavapipe gigabytes.
fn right(terms: Terms, checks: &mut Vec<&Check>, left: &mut BTreeSet<Kernel>) {
    let gpu = gpu();
    gpu.set_terms(terms);
    let device = Device::Gpu(Rc::clone(&gpu));
    let rehearse = |check: &Check| gpu.watch(|| gpu.discard(|| drop((check.run)(&device)))).1;
    checks.retain(|check| !rehearse(check).kernels.is_disjoint(left));
    for ran in pollster::block_on(run_checks(&gpu, checks.iter().copied())) {
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
