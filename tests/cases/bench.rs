//! Single ops are measured on the host and in a page, and what comes of it is right.

use harness::bench::BenchRun;
use record::{Backend, CeilingKind};
use serde_json::Value;
use std::{fs, path::Path, process::Command};
use tests::HARNESS;

/// Measures one op with small shapes, and gives the reports and what was printed.
fn bench(folder: &Path, words: &[&str]) -> (Vec<BenchRun>, String) {
    let file = folder.join("bench.json");
    let mut command = Command::new(&*HARNESS);
    command.args(["bench", "--no-setup", "--quick", "--gpu", "software", "--budget", "2m"]);
    let output = command.args(words).arg("--output").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let mut written: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let reports = serde_json::from_value(written["reports"].take()).unwrap();
    (reports, String::from_utf8(output.stdout).unwrap())
}

fn assert_measured(BenchRun { name, backend, report, .. }: &BenchRun, ops: &[&str]) {
    let who = format!("{name} {backend}");
    assert_eq!(report.unsupported, None, "{who}");
    assert_eq!(report.failures(), Vec::<String>::new(), "{who}");
    assert!(report.quick);
    for kind in [CeilingKind::Read, CeilingKind::Copy, CeilingKind::F32] {
        assert!(report.ceiling(kind).unwrap() > 0.0, "{who}: {kind}");
    }
    for op in ops {
        assert!(report.rows.iter().any(|row| row.op == *op), "{who}: {op}");
    }
    for row in &report.rows {
        assert!(ops.contains(&row.op.as_str()), "{who}: {}", row.name());
        assert_eq!(row.skipped, None, "{who}: {}", row.name());
        assert!(row.time.as_ref().unwrap().median_us > 0.0, "{who}: {}", row.name());
        assert!(row.check.as_ref().unwrap().numbers > 0, "{who}: {}", row.name());
    }
}

#[test]
fn ops_are_measured_on_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--backends", "native", "--ops", "project", "add", "--bits", "4"];
    let page = folder.path().join("bench.html");
    let words = [&words[..], &["--page", page.to_str().unwrap()]].concat();
    let (reports, printed) = bench(folder.path(), &words);
    assert!(fs::read_to_string(page).unwrap().contains("host on native"));
    let [host] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((host.backend, host.name.as_str()), (Backend::Native, "host"));
    assert!(host.browser.is_none() && host.report.adapter.is_some());
    assert_measured(host, &["project", "add"]);
    assert!(printed.contains("of ceiling") && printed.contains("q4 symmetric g32"), "{printed}");
}

#[test]
fn ops_are_measured_in_chrome() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--browsers", "chrome", "--backends", "webgpu", "wasm", "--ops", "rms_norm"];
    let (reports, printed) = bench(folder.path(), &words);
    let [webgpu, wasm] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((webgpu.backend, wasm.backend), (Backend::Webgpu, Backend::Wasm));
    assert_measured(webgpu, &["rms_norm"]);
    assert_measured(wasm, &["rms_norm"]);
    let adapter = webgpu.report.adapter.as_ref().unwrap();
    assert_eq!(adapter.software, Some(true), "{adapter:?}");
    assert!(printed.contains(", software;"), "{printed}");
    assert!(webgpu.report.ceiling(CeilingKind::Dispatch).unwrap() > 0.0);
    assert!(wasm.report.adapter.is_none());
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for (words, said) in [
        (&["--ops", "matmull"][..], "did you mean \"matmul\"?"),
        (&["--bits", "adaptive"], "a call has weights of one width"),
        (&["--budget", "soon"], "such as 90s or 5m"),
        (&["--backends", "webnn"], "no WebNN kernels to measure"),
        (&["--backends", "native", "--output", folder], "name another file with --output"),
        (&["--backends", "native", "--page", folder], "name another file with --page"),
    ] {
        let output = Command::new(&*HARNESS).arg("bench").args(words).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {printed}");
        assert!(printed.contains(said), "{words:?}: {printed}");
    }
}
