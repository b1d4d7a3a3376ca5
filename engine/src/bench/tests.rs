//! Every call is right on the native GPU and on the CPU, and whatever is not measured says why.

use super::*;
use crate::{
    device::Gpu,
    weights::{LocalFuture, Source},
};
use record::{Backend, CaseFile};
use std::rc::Rc;

/// Needs a Vulkan driver; `harness setup` installs lavapipe where there is none.
struct Program;

impl Embedder for Program {
    fn source(&self, _: &str, _: &[CaseFile]) -> Box<dyn Source> {
        unreachable!("nothing is read")
    }

    fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>> {
        Box::pin(Gpu::open(None))
    }

    fn emit(&self, _: Event) {}
}

fn report(backend: Backend, ops: &[&str], budget_ms: f64) -> BenchReport {
    let request = BenchRequest {
        backend,
        ops: ops.iter().map(|op| (*op).to_owned()).collect(),
        bits: vec![Bits::Fixed(4)],
        budget_ms,
        quick: Some(true),
    };
    pollster::block_on(run(&request, &Program))
}

#[test]
fn what_is_timed_is_right_on_the_gpu_and_on_the_cpu() {
    for backend in [Backend::Native, Backend::Wasm] {
        let ops = ["matmul", "project", "attention", "conv", "rms_norm", "softmax"];
        let report = report(backend, &ops, 600_000.0);
        assert_eq!(report.failures(), Vec::<String>::new(), "{backend}");
        assert!(report.quick);
        for op in ops {
            assert!(report.rows.iter().any(|row| row.op == op), "{backend} {op}");
        }
        for row in &report.rows {
            let name = format!("{backend} {} {} {}", row.op, row.call, row.format);
            assert_eq!(row.skipped, None, "{name}");
            let (time, check) = (row.time.as_ref().unwrap(), row.check.as_ref().unwrap());
            assert!(time.median_us > 0.0 && time.samples_us.len() >= 5, "{name}");
            assert!(check.numbers >= 8 && check.rel_l2 <= check.bound, "{name}");
            assert_eq!(row.dispatches == 0, backend == Backend::Wasm, "{name}");
            assert!(row.cost.operations > 0 && row.share.unwrap().share > 0.0, "{name}");
        }
        for kind in [CeilingKind::Read, CeilingKind::Copy, CeilingKind::F32] {
            assert!(report.ceiling(kind).unwrap() > 0.0, "{backend} {kind}");
        }
    }
}

#[test]
fn what_there_is_no_time_for_is_said() {
    let report = report(Backend::Wasm, &["matmul", "attention"], 0.0);
    assert!(report.rows.len() > 4);
    for row in &report.rows {
        let why = row.skipped.as_deref().unwrap();
        assert!(why.contains("see --budget"), "{} {}: {why}", row.op, row.call);
        assert!(row.time.is_none() && row.failure().is_none());
    }
}

#[test]
fn a_wrong_result_is_a_failure() {
    let device = Device::cpu();
    let request = BenchRequest {
        backend: Backend::Wasm,
        ops: Vec::new(),
        bits: Vec::new(),
        budget_ms: 60_000.0,
        quick: Some(true),
    };
    let mut bench = Bench::new(&device, &request, &Program, Program.now());
    let call = |_: usize| device.upload(&[1, 2], vec![1.0, 2.0]);
    let expected = || Device::reference().upload(&[1, 2], vec![1.0, 2.5]);
    let calls = Calls { count: 1, call: &call };
    let row = BenchRow { op: "add".to_owned(), ..BenchRow::default() };
    let subject = Subject { row, calls, expected: &expected, sample: &<[f32]>::to_vec };
    pollster::block_on(bench.measure(subject));
    assert!(bench.rows[0].failure().unwrap().contains("away from the exact CPU path"));
}

#[test]
fn picks_are_spread_from_the_first_to_the_last() {
    assert_eq!(spread(10, 4), [0, 3, 6, 9]);
    assert_eq!(spread(2, 4), [0, 1]);
    assert_eq!(spread(1, 4), [0]);
}
