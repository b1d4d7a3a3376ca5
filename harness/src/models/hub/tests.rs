//! Against a server on this machine that answers as the Hub does: the list of files, and files by
//! range with their commit and hash; large ones from elsewhere after a redirect.

use super::*;
use axum::{
    Router,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{path::PathBuf, sync::Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server has and what it was asked for.
#[derive(Default)]
struct Hub {
    files: Vec<(String, Vec<u8>)>,
    asked: Mutex<Vec<String>>,
    damaged: bool,
}

impl Hub {
    fn with(names: &[&str]) -> Hub {
        let file = |name: &&str| (name.to_string(), format!("content of {name}").into_bytes());
        Hub { files: names.iter().map(file).collect(), ..Hub::default() }
    }

    fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(known, _)| known == name).map(|(_, bytes)| &bytes[..])
    }
}

async fn info(
    State(hub): State<Arc<Hub>>,
    UrlPath((owner, name, revision)): UrlPath<(String, String, String)>,
) -> Response {
    hub.asked.lock().unwrap().push(format!("info {owner}/{name} {revision}"));
    if name == "absent" {
        return StatusCode::NOT_FOUND.into_response();
    }
    let siblings: Vec<Value> =
        hub.files.iter().map(|(name, _)| json!({"rfilename": name})).collect();
    axum::Json(json!({"sha": COMMIT, "siblings": siblings})).into_response()
}

async fn resolve(
    State(hub): State<Arc<Hub>>,
    UrlPath((_, _, revision, file)): UrlPath<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response {
    hub.asked.lock().unwrap().push(format!("file {revision} {file}"));
    let Some(bytes) = hub.file(&file) else { return StatusCode::NOT_FOUND.into_response() };
    if !file.ends_with(".safetensors") {
        let etag = format!("\"etag-of-{file}\"");
        return ([("x-repo-commit", COMMIT), ("etag", &etag)], part(bytes, &headers))
            .into_response();
    }
    let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    // The client follows redirects within a host by itself, so this has to be another name.
    let port = headers["host"].to_str().unwrap().rsplit(':').next().unwrap();
    let elsewhere = format!("http://localhost:{port}/storage/{file}");
    (
        StatusCode::FOUND,
        [("x-repo-commit", COMMIT), ("x-linked-etag", &sha256), ("location", &elsewhere)],
    )
        .into_response()
}

async fn storage(
    State(hub): State<Arc<Hub>>,
    UrlPath(file): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    let mut bytes = hub.file(&file).unwrap().to_owned();
    bytes[0] ^= u8::from(hub.damaged);
    part(&bytes, &headers)
}

/// The part of `bytes` that the Range header asks for.
fn part(bytes: &[u8], headers: &HeaderMap) -> Response {
    let range = headers[header::RANGE].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse::<usize>().unwrap().min(bytes.len() - 1);
    let range = format!("bytes {start}-{end}/{}", bytes.len());
    (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, range)], bytes[start..=end].to_vec())
        .into_response()
}

/// A served hub, and a cache of models beside a cache of the Hub.
struct Served {
    hub: Arc<Hub>,
    api: Api,
    models: PathBuf,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

fn serve(hub: Hub) -> Served {
    let hub = Arc::new(hub);
    let router = Router::new()
        .route("/api/models/{owner}/{name}/revision/{revision}", get(info))
        .route("/{owner}/{name}/resolve/{revision}/{file}", get(resolve))
        .route("/storage/{file}", get(storage))
        .with_state(hub.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();
    let api = ApiBuilder::new()
        .with_cache_dir(folder.path().join("hub"))
        .with_endpoint(endpoint)
        .with_token(None)
        .with_progress(false)
        .build()
        .unwrap();
    let models = folder.path().join("models");
    Served { hub, api, models, _folder: folder, _runtime: runtime }
}

impl Served {
    fn fetch(&self, id: &str, gguf: Option<&str>) -> Result<PathBuf> {
        let id = Id::parse(id)?;
        fetch(&id, gguf, &self.models, &self.api, &Ui::new(true, false))?;
        Ok(cache::model(&self.models, &id.name()).expect("fetched, so it is there"))
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.hub.asked.lock().unwrap())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = folder.read_dir().unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_model_in_one_file_comes_with_its_companions_of_one_commit() {
    let there = ["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "x.gguf"];
    let served = serve(Hub::with(&there));
    let folder = served.fetch("owner/name@v1.0", None).unwrap();
    assert_eq!(names(&folder), ["config.json", "model.safetensors", "source.json"]);
    let weights = fs::read_to_string(folder.join("model.safetensors")).unwrap();
    assert_eq!(weights, "content of model.safetensors");
    let source = fs::read_to_string(folder.join("source.json")).unwrap();
    assert!(source.contains(COMMIT) && source.contains("owner/name"), "{source}");

    let asked = served.asked();
    assert_eq!(asked[0], "info owner/name v1.0");
    assert!(asked[1..].iter().all(|asked| asked.starts_with(&format!("file {COMMIT} "))));
    served.fetch("owner/name@v1.0", None).unwrap();
    assert_eq!(served.asked(), ["info owner/name v1.0"], "the same commit was fetched twice");
}

#[test]
fn shards_are_those_that_the_index_names() {
    let first = "model-00001-of-00002.safetensors";
    let second = "model-00002-of-00002.safetensors";
    let mut hub = Hub::with(&["config.json", first, second, "other.safetensors"]);
    let map = json!({"weight_map": {"a": first, "b": second, "c": first}});
    hub.files.push((INDEX.to_owned(), map.to_string().into_bytes()));
    let served = serve(hub);
    let folder = served.fetch("owner/name", None).unwrap();
    assert_eq!(names(&folder), ["config.json", first, second, INDEX, "source.json"]);
}

#[test]
fn an_index_that_leads_elsewhere_is_refused() {
    for file in ["../../secret.safetensors", "/etc/passwd", "model.bin"] {
        let index = json!({"weight_map": {"a": file}}).to_string();
        let error = shards(index.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("no .safetensors file"), "{error}");
    }
    assert!(shards(b"[]").unwrap_err().to_string().contains("weight_map"));
    assert!(shards(b"{").unwrap_err().to_string().contains("no JSON"));
}

#[test]
fn of_several_ggufs_one_has_to_be_named() {
    let served = serve(Hub::with(&["a.Q4_0.gguf", "a.Q8_0.gguf"]));
    let error = served.fetch("owner/name", None).unwrap_err().to_string();
    assert!(error.contains("--file: a.Q4_0.gguf a.Q8_0.gguf"), "{error}");
    let error = served.fetch("owner/name", Some("a.Q2_K.gguf")).unwrap_err().to_string();
    assert!(error.contains("no \"a.Q2_K.gguf\""), "{error}");
    let folder = served.fetch("owner/name", Some("a.Q8_0.gguf")).unwrap();
    assert_eq!(names(&folder), ["a.Q8_0.gguf", "source.json"]);
}

#[test]
fn a_repository_without_weights_is_refused_and_leaves_nothing() {
    let served = serve(Hub::with(&["config.json", "pytorch_model.bin"]));
    let error = served.fetch("owner/name", None).unwrap_err().to_string();
    assert!(error.contains("it has config.json pytorch_model.bin"), "{error}");
    assert_eq!(names(&served.models), [""; 0]);
    let error = served.fetch("owner/absent", None).unwrap_err();
    assert!(format!("{error:#}").contains("is the name right"), "{error:#}");
}

#[test]
fn a_damaged_download_is_refused_and_not_kept_for_the_next_try() {
    let served = serve(Hub { damaged: true, ..Hub::with(&["model.safetensors"]) });
    let error = served.fetch("owner/name", None).unwrap_err();
    assert!(format!("{error:#}").contains("came damaged"), "{error:#}");
    assert_eq!(names(&served.models), [""; 0]);
}

#[test]
fn what_the_user_wrote_beside_a_model_outlives_a_new_commit() {
    let served = serve(Hub::with(&["model.safetensors"]));
    let folder = served.fetch("owner/name", None).unwrap();
    fs::write(folder.join("case.json"), "mine").unwrap();
    fs::write(folder.join("source.json"), "{\"commit\": \"an older one\"}").unwrap();
    let folder = served.fetch("owner/name", None).unwrap();
    assert_eq!(fs::read_to_string(folder.join("case.json")).unwrap(), "mine");
}

#[test]
fn only_owner_and_name_make_a_repository() {
    for text in ["a", "a/b/c", "/b", "a/", "../b", "a/b@", "a/b@../c", "a b/c", "a/b@x y"] {
        let error = Id::parse(text).unwrap_err().to_string();
        assert!(error.contains("OWNER/NAME"), "{error}");
    }
    assert_eq!(Id::parse("a/b.c-d_e@refs/pr/1").unwrap().name(), "a/b.c-d_e@refs/pr/1");
}

#[test]
fn fetching_works_inside_a_runtime() {
    let served = serve(Hub::with(&["model.safetensors"]));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { served.fetch("owner/name", None).map(|_| ()) }).unwrap();
}
