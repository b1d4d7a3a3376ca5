//! Single ops are measured on the host and in a page, and what comes of it is right.

use harness::bench::BenchRun;
use record::{Backend, CeilingKind};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tests::HARNESS;

/// Measures one op with small shapes, and gives the reports and what was printed.
fn bench(folder: &Path, words: &[&str]) -> (Vec<BenchRun>, String) {
    let file = folder.join("bench.json");
    let mut command = Command::new(&*HARNESS);
    command.args(["bench", "--no-setup", "--quick", "--gpu", "software", "--budget", "2m"]);
    command.arg("--db").arg(folder.join("records.sqlite"));
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

/// What the device can do is known from then on: to plans, and to the report of a run.
#[test]
fn what_was_measured_is_kept_and_estimated_by() {
    let folder = tempfile::tempdir().unwrap();
    let harness = |words: &[&str]| {
        let output =
            Command::new(&*HARNESS).args(words).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), said)
    };
    let cells = ["--models", "llama-bias", "--backends", "native", "--bits", "4"];
    let db = ["--db", "r.sqlite", "--no-setup"];
    let plan = [&["plan", "--estimate"], &cells[..], &db].concat();
    let (code, _, said) = harness(&plan);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("bench` measures it"), "{said}");

    let bench = ["bench", "--backends", "native", "--ops", "add", "--quick", "--output", "b.json"];
    let (code, _, said) = harness(&[&bench[..], &db].concat());
    assert_eq!(code, Some(0), "{said}");
    let (code, printed, said) = harness(&plan);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        printed.starts_with("estimated, not measured: the sum over calls of max("),
        "{printed}"
    );
    assert!(printed.contains("this machine's processor, each call taken as one"), "{printed}");
    assert!(!printed.contains("measured ms"), "{printed}");

    let run = [&["run", "--trace"], &cells[..], &db].concat();
    let (code, _, said) = harness(&run);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("times what is estimated by bench"), "{said}");
    let report = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(report.contains("What this device can do") && report.contains("host · native"));

    let beside = ["--adapter", "b.json", "--run", "latest"];
    let (code, printed, said) = harness(&[&["--json"], &plan[..], &beside].concat());
    assert_eq!(code, Some(0), "{said}");
    let line = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = line.into_iter().find(|line| line.get("cell").is_some()).unwrap();
    let (estimated, measured) = (&line["estimated"], &line["measured"]);
    assert!(estimated["counts"].as_str().unwrap().starts_with("traced on native host in run"));
    for pass in ["pass", "token"] {
        let ms = |name: &str| estimated[pass][name].as_f64().unwrap();
        let parts = ms("bytes_ms") + ms("operations_ms") + ms("dispatches_ms");
        assert!(ms("ms") > 0.0 && (ms("ms") - parts).abs() < 1e-9, "{estimated}");
    }
    assert!(measured["pass_ms"].as_f64().unwrap() > 0.0 && measured["token_ms"].is_number());
    assert!(estimated["bytes"].as_u64().unwrap() > 0 && measured["bytes"].is_number());
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
        (&["--against", folder], "there is no program at"),
        (&["--models", "bert"], "--against"),
    ] {
        let output = Command::new(&*HARNESS).arg("bench").args(words).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {printed}");
        assert!(printed.contains(said), "{words:?}: {printed}");
    }
}

/// Holds this build to `other`, and gives what was printed and what was written.
fn against(folder: &Path, other: &Path, words: &[&str]) -> (Output, Value) {
    let file = folder.join("against.json");
    let mut command = Command::new(&*HARNESS);
    command.args(["bench", "--no-setup", "--gpu", "software", "--against"]).arg(other);
    let output = command.args(words).arg("--output").arg(&file).output().unwrap();
    let written = fs::read_to_string(file).ok().map(|text| serde_json::from_str(&text).unwrap());
    (output, written.unwrap_or_default())
}

/// Every ratio has an interval around it where there are several rounds, and every round its times.
fn assert_judged(judged: &Value) {
    let rounds = judged["rounds"].as_u64().unwrap();
    let findings =
        judged["groups"].as_array().unwrap().iter().chain(judged["rows"].as_array().unwrap());
    for finding in findings.chain([&judged["total"]]) {
        let ratio = finding["ratio"].as_f64().unwrap();
        assert!(ratio > 0.0, "{finding}");
        match finding["interval"].as_array() {
            Some(ends) => {
                let [low, high] = [0, 1].map(|at| ends[at].as_f64().unwrap());
                assert!(rounds > 1 && low <= ratio && ratio <= high, "{finding}");
            }
            None => {
                assert_eq!((rounds, &finding["verdict"]), (1, &json!("cannot-tell")), "{finding}")
            }
        }
    }
    for row in judged["rows"].as_array().unwrap() {
        assert_eq!(row["times"].as_array().unwrap().len() as u64, rounds, "{row}");
    }
}

/// Which of two equal builds is the faster is nothing to rely on; that their cells are joined is.
#[test]
fn a_build_is_held_against_itself() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--browsers", "chrome", "--backends", "wasm", "--bits", "4", "--budget", "20s"];
    let models = ["--models", "bert-base-tiny", "--fail-on", "slower"];
    let (output, written) = against(folder.path(), &HARNESS, &[&words[..], &models].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    let judged = &written["against"]["judged"];
    let groups = judged["groups"].as_array().unwrap_or_else(|| panic!("{said}"));
    assert_eq!(groups.len(), 1, "{judged}");
    let place = ["group", "browser", "backend"].map(|name| groups[0][name].as_str().unwrap());
    assert_eq!(place, ["bert", "chrome", "wasm"]);
    assert_judged(judged);
    let is_slower = groups[0]["verdict"] == "slower";
    assert_eq!(output.status.code(), Some(i32::from(is_slower)), "{said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("bert  ") && printed.contains("whole run"), "{printed}");
    assert!(judged["whole_s"][0].as_f64().unwrap() > 0.0);
}

/// A build that has for an answer what this one measured, by a factor: the verdict is known.
#[cfg(unix)]
#[test]
fn a_build_that_is_far_slower_or_faster_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let words =
        ["--browsers", "chrome", "--backends", "wasm", "--ops", "add", "rms_norm", "--quick"];
    let (mut reports, _) = bench(folder.path(), &words[..7]);
    let other = folder.path().join("harness");
    let prepared = folder.path().join("prepared.json");
    let script = "while [ $# -gt 0 ] && [ \"$1\" != --output ]; do shift; done\n\
                  [ $# = 0 ] || cp \"$PREPARED\" \"$2\"\n";
    fs::write(&other, format!("#!/bin/sh\nPREPARED='{}'\n{script}", prepared.display())).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    for (factor, verdict, code) in [(1e4, "faster", 0), (1e-8, "slower", 1)] {
        for row in reports.iter_mut().flat_map(|run| &mut run.report.rows) {
            row.time.as_mut().unwrap().median_us *= factor;
        }
        fs::write(&prepared, json!({"reports": reports}).to_string()).unwrap();
        let more = ["--budget", "3m", "--fail-on", "slower"];
        // A folder is as good as the program in it.
        let (output, written) =
            against(folder.path(), folder.path(), &[&words[..], &more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        let judged = &written["against"]["judged"];
        let groups = judged["groups"].as_array().unwrap_or_else(|| panic!("{said}"));
        let names: Vec<_> = groups.iter().map(|group| group["group"].as_str().unwrap()).collect();
        assert_eq!(names, ["add", "rms_norm"], "{said}");
        assert!(groups.iter().all(|group| group["verdict"] == verdict), "{judged}");
        assert_eq!(judged["total"]["verdict"], verdict);
        assert_judged(judged);
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_build_that_cannot_be_asked_says_why() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("harness");
    fs::write(&other, "#!/bin/sh\necho \"unrecognized subcommand '$2'\" >&2\nexit 2\n").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let words = ["--browsers", "chrome", "--backends", "wasm", "--ops", "add", "--budget", "30s"];
    let (output, _) = against(folder.path(), &other, &words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in ["gave nothing that can be compared", "exit status: 2", "subcommand 'bench'"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
