//! The tuner on the native GPU, with its own kernels and with those of hardware: what it picks depends on times, and
//! nothing that is asserted here does.

use super::*;
use crate::{
    device::{Capabilities, Terms},
    models::Outputs,
    ops::{matmul, project},
    quant::{Format, Matrix, MatrixBuilder, PackedRows},
    tensor::Tensor,
    testing::{normal, rel_l2},
};
use pollster::block_on;

const FORMAT: Format = Format::Grouped { bits: 4, asymmetric: false, group: 32 };
/// Calls that [`Products`] makes, as a tuning names them.
const MANY: &str = "matmul ≤16×64×64 q4 symmetric g32";
const ONE: &str = "project 1×64×64 q4 symmetric g32";

/// Three layers of products: nine rows, and one behind them.
struct Products {
    layers: Vec<Matrix>,
    x: Tensor,
}

impl Products {
    fn new(device: &Device) -> Products {
        let layer = |seed: u64| {
            let mut builder = MatrixBuilder::new(device, "a layer", 64, 64, FORMAT);
            builder.push(&PackedRows::seeded(FORMAT, 64, seed, 0..64));
            builder.finish()
        };
        Products {
            layers: (1..4).map(layer).collect(),
            x: device.keep(&[9, 64], normal(3, 9 * 64)),
        }
    }
}

impl Model for Products {
    fn forward(&self, device: &Device, _: &Inputs) -> Result<Outputs> {
        let many = self.layers.iter().fold(self.x.clone(), |x, w| matmul(device, &x, w, None));
        let one = ops::gather_rows(device, &many, &device.upload_u32(&[1], vec![4]));
        let one = self.layers.iter().fold(one, |x, w| project(device, &x, w, Default::default()));
        Ok(vec![("many", many), ("one", one)])
    }
}

/// A GPU as it is, or one that passes for hardware.
fn gpus() -> [Rc<Gpu>; 2] {
    [true, false].map(|as_it_is| {
        let gpu = block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        if !as_it_is {
            let capabilities = Capabilities { software: false, ..gpu.terms().capabilities };
            gpu.set_terms(Terms { capabilities, ..Terms::default() });
        }
        gpu
    })
}

/// What a model gives now, and the kernels that it dispatches.
fn outputs(device: &Device, gpu: &Gpu, model: &Products) -> (Vec<Vec<f32>>, Vec<String>) {
    let (outputs, watched) = gpu.watch(|| model.forward(device, &Inputs::default()).unwrap());
    let tensors: Vec<&Tensor> = outputs.iter().map(|(_, tensor)| tensor).collect();
    let values = block_on(device.read(&tensors)).unwrap();
    (values, watched.kernels.iter().map(|kernel| format!("{kernel:?}")).collect())
}

#[test]
fn every_kernel_of_a_call_is_measured_and_what_is_picked_computes_the_same() {
    for gpu in gpus() {
        let device = Device::Gpu(Rc::clone(&gpu));
        let model = Products::new(&device);
        let inputs = Inputs::default();
        let subject = Subject { device: &device, gpu: &gpu, model: &model, inputs: &inputs };
        let by_rules = outputs(&device, &gpu, &model).0;
        let found = block_on(subject.auto(None, 1e9)).unwrap();
        // A software adapter has one kernel for many rows.
        let is_software = gpu.terms().capabilities.software;
        let calls = if is_software { &[ONE][..] } else { &[MANY, ONE] };
        assert_eq!((found.note.clone(), found.entries.len()), (None, calls.len()));
        assert_eq!(found.hash.as_deref(), Some(hash(&found.entries).as_str()));
        for call in calls {
            let entry = found.entries.iter().find(|entry| entry.call == *call).unwrap();
            assert_eq!(entry.calls, 3);
            assert!(entry.tried.len() > 1 && entry.tried(&entry.pick).is_some(), "{entry:?}");
            assert_eq!(entry.tried[0].kernel, entry.rule);
            assert!(entry.tried.iter().all(|it| it.median_us > 0.0 && it.samples >= 4));
        }
        let (tuned, kernels) = outputs(&device, &gpu, &model);
        for (tuned, by_rules) in tuned.iter().zip(&by_rules) {
            assert!(rel_l2(tuned, by_rules) < 1e-4);
        }
        for entry in &found.entries {
            assert!(kernels.contains(&entry.pick), "{} of {kernels:?}", entry.pick);
        }
        assert!(gpu.terms().favoured.is_empty());
        // What was found is taken again, and leads to the same.
        let again = subject.fixed(&found).unwrap();
        assert_eq!((again.hash, again.note), (found.hash, None));
        assert_eq!(outputs(&device, &gpu, &model).1, kernels);
    }
}

#[test]
fn what_is_stored_goes_to_its_call_alone_and_what_is_unknown_to_none() {
    let [_, gpu] = gpus();
    let device = Device::Gpu(Rc::clone(&gpu));
    let model = Products::new(&device);
    let inputs = Inputs::default();
    let subject = Subject { device: &device, gpu: &gpu, model: &model, inputs: &inputs };
    let by_rules = outputs(&device, &gpu, &model).1;
    let low = "matmul_slabs HARDWARE=1 LOW=1 BITS=4 GROUP=32 ASYM=0 WG=128 TILE=64×32";
    let entry = |call: &str, pick: &str| TunedCall {
        call: call.to_owned(),
        pick: pick.to_owned(),
        ..TunedCall::default()
    };
    let known = |entries| record::Tuning { entries, ..record::Tuning::default() };
    let entries = vec![entry(MANY, low), entry("matmul 1×5×7 f16", "of another model")];
    let found = subject.fixed(&known(entries)).unwrap();
    assert_eq!(found.entries.len(), 1, "what the model does not call is no part of its tuning");
    let tuned = outputs(&device, &gpu, &model).1;
    assert!(tuned.iter().any(|kernel| kernel == low) && tuned != by_rules, "{tuned:?}");

    let found = subject.fixed(&known(vec![entry(MANY, "matmul of tomorrow")])).unwrap();
    assert!(found.hash.is_some());
    assert_eq!(outputs(&device, &gpu, &model).1, by_rules);
    let found = subject.fixed(&known(vec![entry("norm", low)])).unwrap();
    assert!(found.hash.is_none() && found.note.unwrap().contains("harness tune"));
}

/// Nothing is measured without time, and the rules stay.
#[test]
fn without_time_the_rules_stay() {
    let [gpu, _] = gpus();
    let device = Device::Gpu(Rc::clone(&gpu));
    let model = Products::new(&device);
    let inputs = Inputs::default();
    let subject = Subject { device: &device, gpu: &gpu, model: &model, inputs: &inputs };
    let by_rules = outputs(&device, &gpu, &model).1;
    let found = block_on(subject.auto(None, 0.0)).unwrap();
    assert!(found.entries.iter().all(|it| it.pick == it.rule && it.tried.is_empty()));
    assert_eq!(outputs(&device, &gpu, &model).1, by_rules);
}

/// A kernel that is wrong on a device is not picked, however fast it is.
#[test]
fn a_pick_that_fails_the_self_test_is_none() {
    let [_, gpu] = gpus();
    let device = Device::Gpu(Rc::clone(&gpu));
    let model = Products::new(&device);
    let inputs = Inputs::default();
    let subject = Subject { device: &device, gpu: &gpu, model: &model, inputs: &inputs };
    let tunable = tunable(&subject.passes().unwrap()).unwrap();
    let many = tunable.iter().find(|it| it.call == MANY).unwrap();
    let named = |name: &str| {
        let mut kernels = many.kernels.iter().map(|kernel| format!("{kernel:?}"));
        kernels.find(|kernel| kernel.contains(name)).unwrap()
    };
    let entry = |pick: String| TunedCall {
        call: MANY.to_owned(),
        rule: format!("{:?}", many.kernels[0]),
        pick,
        ..TunedCall::default()
    };
    let mut files = shaders::Files::default();
    let fault = "\n#if BROAD\nacc0 -= a.x * b;\n#endif\nacc0 += a.x * b";
    let text = files.text("matmul_slabs").unwrap().replace("acc0 += a.x * b", fault);
    files.replace("matmul_slabs", text);
    gpu.use_files(files);
    for (name, is_kept) in [("BROAD", false), ("LOW", true)] {
        let entries = vec![entry(named(name))];
        let mut found = record::Tuning { entries, ..record::Tuning::default() };
        block_on(subject.leave_out_what_fails(&tunable, &mut found));
        assert_eq!(found.entries[0].pick != found.entries[0].rule, is_kept, "{name}");
    }
    assert!(gpu.terms().favoured.is_empty());
}

#[test]
fn checks_are_those_of_the_op_and_the_format() {
    let product = "matmul ≤64×32×96 q4 symmetric g32";
    assert!(is_about("matmul q4 symmetric g32 1×40×160", product));
    assert!(!is_about("matmul q4 asymmetric g32 1×40×160", product));
    assert!(!is_about("project q4 symmetric g32", product));
    let gated = "project 1×32×96 f16, gated";
    assert!(is_about("project f16", gated) && !is_about("project f32", gated));
    assert!(is_about("self-attention behind 3, 128 wide", "self-attention 32 heads of 64, ≤64"));
}

#[test]
fn equal_picks_have_one_hash_in_any_order() {
    let entry = |call: &str, pick: &str, calls| TunedCall {
        call: call.to_owned(),
        pick: pick.to_owned(),
        calls,
        ..TunedCall::default()
    };
    let [a, b] = [entry("a", "x", 1), entry("b", "y", 2)];
    let first = hash(&[a.clone(), b.clone()]);
    assert_eq!(first, hash(&[b.clone(), entry("a", "x", 9)]));
    assert_ne!(first, hash(&[a, entry("b", "x", 2)]));
    assert_ne!(first, hash(&[b]));
    assert_eq!(first.len(), 64);
}
