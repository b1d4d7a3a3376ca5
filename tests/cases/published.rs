//! Models as they were published, each with one command: the committed cases without what makes them
//! cases, in browsers and on the host.

use axum::{
    Router,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use record::{Backend, Browser, Class, Correctness, Record, Reference, Status};
use safetensors::SafeTensors;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;
use tests::{HARNESS, root};

/// What a model of the zoo was published with.
const PUBLISHED: [&str; 3] = ["config.json", "generation_config.json", "model.safetensors"];

/// A folder for models, for what is made of them and for records.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: TempDir::with_prefix("published-").unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts the first `most` models of a class below `models`.
    fn add(&self, class: Class, most: usize) {
        for case in committed(class).iter().take(most) {
            let target = self.path("models").join(case.file_name().unwrap());
            fs::create_dir_all(&target).unwrap();
            for file in PUBLISHED.map(|file| case.join(file)).iter().filter(|file| file.exists()) {
                fs::copy(file, target.join(file.file_name().unwrap())).unwrap();
            }
        }
    }

    fn harness(&self) -> Command {
        let mut command = Command::new(&*HARNESS);
        command
            .current_dir(self.folder.path())
            .env("FEWBIT_CACHE", self.path("cache"))
            .env("HF_HOME", self.path("hub"))
            .env_remove("HF_TOKEN");
        command
    }

    /// Runs cells and gives their records.
    fn run(&self, args: &[&str]) -> Vec<Record> {
        self.run_by(self.harness(), &[&["--no-setup"], args].concat())
    }

    fn run_by(&self, mut harness: Command, args: &[&str]) -> Vec<Record> {
        let output = harness
            .args(["run", "--bits", "4", "--repeat", "1"])
            .args(["--db", "records.sqlite", "--records", "records.jsonl"])
            .args(args)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        let records = harness::store::read_lines(&self.path("records.jsonl")).unwrap();
        fs::remove_file(self.path("records.jsonl")).unwrap();
        records
    }
}

/// The committed cases of a class.
fn committed(class: Class) -> Vec<PathBuf> {
    let zoo = root().join("tests/zoo").join(class.name());
    let cases = fs::read_dir(zoo).unwrap().map(|case| case.unwrap().path());
    let mut cases: Vec<PathBuf> = cases.collect();
    cases.sort();
    cases
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A mirror of the Hub that has the files of one folder in every repository.
fn mirror(folder: PathBuf) -> (tokio::runtime::Runtime, String) {
    let router = Router::new()
        .route("/api/models/{owner}/{name}/revision/{revision}", get(listed))
        .route("/{owner}/{name}/resolve/{revision}/{file}", get(resolved))
        .with_state(folder);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async { axum::serve(listener, router).await });
    (runtime, endpoint)
}

async fn listed(State(folder): State<PathBuf>) -> Response {
    let names = folder.read_dir().unwrap();
    let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
    let siblings: Vec<_> = names.map(|name| serde_json::json!({"rfilename": name})).collect();
    let info = serde_json::json!({"sha": COMMIT, "siblings": siblings});
    ([(header::CONTENT_TYPE, "application/json")], info.to_string()).into_response()
}

/// The range of a file that is asked for.
async fn resolved(
    State(folder): State<PathBuf>,
    UrlPath((_, _, _, file)): UrlPath<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let Ok(bytes) = fs::read(folder.join(&file)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = headers[header::RANGE].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse::<usize>().unwrap().min(bytes.len() - 1);
    let range = format!("bytes {start}-{end}/{}", bytes.len());
    let etag = format!("\"{file}\"");
    let told = [("x-repo-commit", COMMIT), ("etag", &etag), ("content-range", &range)];
    (StatusCode::PARTIAL_CONTENT, told, bytes[start..=end].to_vec()).into_response()
}

/// What every record of such a model says.
fn check(record: &Record) {
    let (cell, outcome) = (&record.cell, &record.outcome);
    assert_eq!(outcome.status, Status::Pass, "{cell}: {:?}", outcome.reason);
    assert_eq!(outcome.reference, Some(Reference::EngineF32), "{cell}");
    assert!(outcome.synthetic_inputs, "{cell}: nothing says how its inputs are prepared");
    let correctness = outcome.correctness.unwrap();
    assert!(correctness.reference_rel_l2.is_some_and(|loss| loss > 0.0), "{cell}: {correctness:?}");
    let generates = !matches!(
        cell.class,
        Class::Bert
            | Class::Vit
            | Class::Detr
            | Class::Clip
            | Class::Xclip
            | Class::Clap
            | Class::Wav2vec2
    );
    assert_eq!(correctness.generated_match.is_some(), generates, "{cell}: forced decoding");
}

#[test]
fn every_model_runs_on_the_host() {
    let place = Place::new();
    Class::ALL.iter().for_each(|class| place.add(*class, usize::MAX));
    let records = place.run(&["--cases", "models", "--backends", "native"]);
    let classes: HashSet<Class> = records.iter().map(|record| record.cell.class).collect();
    assert_eq!(classes.len(), Class::ALL.len());
    assert_eq!(records.len(), place.path("models").read_dir().unwrap().count());
    records.iter().for_each(check);
}

/// One command for a model of every class, by folders, by a path and from the Hub. Every verdict is
/// of numbers, so that however slow the machine is, only a wrong one fails.
#[test]
fn a_model_of_every_class_runs_in_browsers() {
    let place = Place::new();
    Class::ALL.iter().for_each(|class| place.add(*class, 1));
    let (_runtime, endpoint) = mirror(place.path("models/qwen2-layer-types"));
    // Its bare name would be that of the committed case.
    fs::create_dir(place.path("named")).unwrap();
    fs::rename(place.path("models/llama-bias"), place.path("named/llama-bias")).unwrap();
    let mut harness = place.harness();
    harness.env("HF_ENDPOINT", endpoint);
    let models = ["--cases", "models", "--models", "named/llama-bias", "owner/tiny@v1"];
    let places = ["--browsers", "chrome", "firefox", "--backends", "webgpu", "wasm"];
    let patience = ["--timeout", "3600"];
    let records = place.run_by(harness, &[&models[..], &places, &patience].concat());
    let cells: HashSet<(&str, Browser, Backend)> = records
        .iter()
        .map(|record| (record.cell.case.as_str(), record.cell.browser, record.cell.backend))
        .collect();
    assert_eq!(cells.len(), (Class::ALL.len() + 1) * 2 * 2);
    let classes: HashSet<Class> = records.iter().map(|record| record.cell.class).collect();
    assert_eq!(classes.len(), Class::ALL.len());
    assert!(cells.contains(&("owner/tiny@v1", Browser::Firefox, Backend::Webgpu)));
    records.iter().for_each(check);
}

/// A figure of what a width costs, with its name.
type Figure = (&'static str, fn(&Correctness) -> Option<f64>);

/// What a width costs is the same by this engine's reference as by transformers', for a model of every
/// class on the inputs of its committed case.
#[test]
fn loss_is_the_same_by_either_reference() {
    let place = Place::new();
    let own = |case: &Path| place.path(case.file_name().unwrap().to_str().unwrap());
    let cases: Vec<PathBuf> =
        Class::ALL.iter().map(|class| committed(*class).swap_remove(0)).collect();
    for case in &cases {
        let status = place.harness().arg("case").args([case, Path::new("-o"), &own(case)]).status();
        assert!(status.unwrap().success(), "{case:?}");
    }
    let losses = |folders: Vec<PathBuf>, by: Reference| -> Vec<Correctness> {
        let folders: Vec<&str> = folders.iter().map(|folder| folder.to_str().unwrap()).collect();
        let records = place.run(&[&["--backends", "native", "--cases"], &folders[..]].concat());
        let loss = |record: &Record| {
            assert_eq!(record.outcome.reference, Some(by), "{}", record.cell);
            record.outcome.correctness.unwrap()
        };
        records.iter().map(loss).collect()
    };
    let theirs = losses(cases.clone(), Reference::Transformers);
    let owns = losses(cases.iter().map(|case| own(case)).collect(), Reference::EngineF32);
    assert_eq!((theirs.len(), owns.len()), (cases.len(), cases.len()));
    let figures: [Figure; 5] = [
        ("reference error", |found| found.reference_rel_l2),
        ("cosine", |found| found.cosine),
        ("KL divergence", |found| found.kl),
        ("top-1 agreement", |found| found.top1_agreement),
        ("text repeated", |found| found.generated_match),
    ];
    let mut same_texts = 0;
    for ((case, theirs), ours) in cases.iter().zip(&theirs).zip(&owns) {
        assert!(theirs.reference_rel_l2.unwrap() > 1e-3, "{case:?}: four bits cost something");
        // The last two go along the expected text, and not every committed case expects that of the
        // prompts that the engine makes of its inputs.
        let texts = [case, &own(case)].map(|case| expected_tokens(case));
        same_texts += usize::from(texts[0].is_some() && texts[0] == texts[1]);
        let count = if texts[0] == texts[1] { 5 } else { 3 };
        for (name, figure) in &figures[..count] {
            match (figure(theirs), figure(ours)) {
                (Some(a), Some(b)) => assert!((a - b).abs() <= 1e-3, "{case:?}: {name} {a}, {b}"),
                (a, b) => assert_eq!(a, b, "{case:?}: {name}"),
            }
        }
    }
    assert_eq!(same_texts, 2, "those of llama and llava");
}

/// The bytes of the tokens that the prompts of a case are expected to become.
fn expected_tokens(case: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(case.join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensor("generated_ids").ok().map(|ids| ids.data().to_vec())
}

/// What is not on this machine comes from the Hub, at the revision that is asked for.
#[test]
fn a_repository_of_the_hub_runs_by_its_name() {
    let place = Place::new();
    place.add(Class::Qwen2, 1);
    let model = place.path("models").read_dir().unwrap().next().unwrap().unwrap().path();
    let (_runtime, endpoint) = mirror(model);
    let mut harness = place.harness();
    harness.env("HF_ENDPOINT", endpoint);
    let records = place.run_by(harness, &["--models", "owner/tiny@v1", "--backends", "native"]);
    assert_eq!((records.len(), records[0].cell.case.as_str()), (1, "owner/tiny@v1"));
    check(&records[0]);
    // It is here now, so nobody is asked.
    check(&place.run(&["--models", "owner/tiny@v1", "--backends", "native"])[0]);
}

/// A reference is computed once, and again when the model is another, be its files as large and old.
#[test]
fn a_reference_is_kept_by_the_content_of_the_model() {
    let place = Place::new();
    place.add(Class::Vit, 1);
    let weights = place.path("models/vit-labels/model.safetensors");
    let args = ["--models", "models/vit-labels", "--backends", "native"];
    let kept = || {
        let cases = place.path("cache/cases").read_dir().unwrap();
        let names = cases.map(|case| case.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.')).collect::<HashSet<String>>()
    };
    place.run(&args);
    let first = kept();
    place.run(&args);
    assert_eq!((first.len(), &kept()), (1, &first));

    let modified = fs::metadata(&weights).unwrap().modified().unwrap();
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    fs::File::options().append(true).open(&weights).unwrap().set_modified(modified).unwrap();
    place.run(&args);
    assert_eq!(kept().len(), 2);
}

#[test]
fn a_case_is_made_once_and_runs_from_its_folder() {
    let place = Place::new();
    place.add(Class::Llama, 1);
    let case = |expected: bool| {
        let output =
            place.harness().args(["case", "models/llama-bias", "-o", "made"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), expected, "{stderr}");
        stderr
    };
    case(true);
    let files: Vec<&str> =
        PUBLISHED.into_iter().chain(["case.json", "expected.safetensors"]).collect();
    assert!(files.iter().all(|file| Path::is_file(&place.path("made").join(file))));
    assert!(case(false).contains("made exists"));

    let args = ["--cases", "made", "--backends", "native"];
    check(&place.run(&args)[0]);
    let sizes = ["--prompt-tokens", "8", "40", "--new-tokens", "5", "--batch", "2"];
    let records = place.run(&[&args[..], &sizes].concat());
    assert_eq!(records.len(), 2);
    for (record, tokens) in records.iter().zip([8, 40]) {
        assert_eq!(record.outcome.status, Status::Pass, "{:?}", record.outcome.reason);
        assert_eq!(record.outcome.generated_ids.len(), tokens + 5);
        assert_eq!(record.outcome.reference, None, "nothing is known of such a prompt");
        assert!(
            record.repro.contains(&format!("--prompt-tokens {tokens} --new-tokens 5 --batch 2"))
        );
    }
}
