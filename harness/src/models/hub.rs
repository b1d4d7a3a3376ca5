//! Models of the Hugging Face Hub, by repository and revision.
//!
//! Files are downloaded through `hf-hub` into the Hub's own cache, where other tools find them too
//! and where a broken download goes on later, and linked from there into one folder. The revision is
//! resolved to a commit first: every file is of that commit, and `source.json` says which it was.

use super::cache;
use crate::ui::{Bar, Ui, Unit};
use anyhow::{Context, Result, anyhow, bail};
use hf_hub::{
    Repo, RepoType,
    api::tokio::{Api, ApiBuilder, ApiRepo, Progress},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Files that are read beside the weights.
const COMPANIONS: [&str; 10] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.jinja",
    "chat_template.json",
];
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A repository at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    repository: String,
    revision: Option<String>,
}

impl Id {
    /// Reads `OWNER/NAME` or `OWNER/NAME@REVISION`.
    pub(super) fn parse(text: &str) -> Result<Id> {
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let parts: Vec<&str> = repository.split('/').collect();
        // A revision can be a branch such as refs/pr/1.
        let revision_is_plain = revision.is_none_or(|revision| revision.split('/').all(plain));
        if parts.len() != 2 || !parts.iter().all(|part| plain(part)) || !revision_is_plain {
            bail!("{text:?} is no repository of the Hub; write OWNER/NAME or OWNER/NAME@REVISION");
        }
        Ok(Id { repository: repository.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// What the model is called here: as it was asked for.
    fn name(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{}@{revision}", self.repository),
            None => self.repository.clone(),
        }
    }

    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.repository.clone(), RepoType::Model, revision.to_owned())
    }
}

/// The Hub as the environment names it: HF_ENDPOINT, HF_HOME, and the token in HF_TOKEN or in the
/// file that `hf auth login` writes.
pub(super) fn api() -> Result<Api> {
    let mut builder = ApiBuilder::from_env();
    if let Ok(token) = env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    builder.with_progress(false).build().context("cannot set up the client of the Hub")
}

/// Fetches the files of a model that a case takes; `gguf` picks one of several .gguf files.
pub(super) fn fetch(id: &Id, gguf: Option<&str>, models: &Path, api: &Api, ui: &Ui) -> Result<()> {
    // The caller may or may not be inside a runtime, in which another cannot be entered.
    let fetching = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(fetch_async(id, gguf, models, api, ui))
    };
    std::thread::scope(|scope| scope.spawn(fetching).join())
        .map_err(|_| anyhow!("fetching {} broke off; this is a bug", id.name()))?
}

async fn fetch_async(id: &Id, gguf: Option<&str>, models: &Path, api: &Api, ui: &Ui) -> Result<()> {
    let asked = api.repo(id.at(id.revision.as_deref().unwrap_or("main")));
    let info = asked.info().await.with_context(|| {
        format!(
            "cannot read what {} has; is the name right, and HF_TOKEN set if it is gated?",
            id.name()
        )
    })?;
    let source = json!({"repository": id.repository, "commit": info.sha});
    if let Some(folder) = cache::model(models, &id.name()) {
        let last = fs::read(folder.join("source.json")).unwrap_or_default();
        if serde_json::from_slice::<Value>(&last).is_ok_and(|last| last == source) {
            ui.say(format!("{} is in {}", id.name(), folder.display()));
            return Ok(());
        }
    }

    let repo = api.repo(id.at(&info.sha));
    let there: Vec<&str> = info.siblings.iter().map(|file| file.rfilename.as_str()).collect();
    let filled = cache::begin(models)?;
    let mut files: BTreeSet<String> = weights(&there, gguf)?.into_iter().collect();
    if files.contains(INDEX) {
        download(&repo, INDEX, filled.path(), ui).await?;
        files = shards(&fs::read(filled.path().join(INDEX))?)?;
    }
    files.extend(COMPANIONS.iter().filter(|name| there.contains(name)).map(|n| n.to_string()));
    for file in &files {
        download(&repo, file, filled.path(), ui).await?;
    }
    fs::write(filled.path().join("source.json"), format!("{source:#}\n"))
        .context("cannot write source.json")?;

    // What the user put beside an earlier commit's files is theirs.
    if let Some(last) = cache::model(models, &id.name()) {
        for name in ["case.json", "inputs.safetensors", "expected.safetensors"] {
            if last.join(name).is_file() {
                fs::copy(last.join(name), filled.path().join(name))
                    .with_context(|| format!("cannot keep {name}"))?;
            }
        }
    }
    let folder = cache::keep(filled, models, &id.name())?;
    ui.say(format!("{} is in {}", id.name(), folder.display()));
    Ok(())
}

/// The files that hold the weights, in the order of preference of every loader: one file, an index
/// of shards, a GGUF.
fn weights(there: &[&str], gguf: Option<&str>) -> Result<Vec<String>> {
    if let Some(gguf) = gguf {
        if !gguf.ends_with(".gguf") || gguf.contains('/') || !there.contains(&gguf) {
            bail!("the repository has no {gguf:?} at its top; it has {}", list(there, ".gguf"));
        }
        return Ok(vec![gguf.to_owned()]);
    }
    if let Some(file) = [SINGLE, INDEX].into_iter().find(|file| there.contains(file)) {
        return Ok(vec![file.to_owned()]);
    }
    let ggufs: Vec<&&str> =
        there.iter().filter(|name| name.ends_with(".gguf") && !name.contains('/')).collect();
    match ggufs[..] {
        [file] => Ok(vec![file.to_string()]),
        [] => bail!(
            "the repository has no {SINGLE}, {INDEX} or .gguf at its top; it has {}",
            list(there, "")
        ),
        _ => bail!(
            "the repository has several .gguf files; name one with --file: {}",
            list(there, ".gguf")
        ),
    }
}

/// The index and the files that it says the weights are in.
fn shards(index: &[u8]) -> Result<BTreeSet<String>> {
    let index: Value =
        serde_json::from_slice(index).with_context(|| format!("{INDEX} is no JSON"))?;
    let map = index["weight_map"]
        .as_object()
        .with_context(|| format!("{INDEX} has no object weight_map"))?;
    let mut files = BTreeSet::from([INDEX.to_owned()]);
    for (tensor, file) in map {
        match file.as_str() {
            Some(file) if file.ends_with(".safetensors") && !file.contains(['/', '\\']) => {
                files.insert(file.to_owned());
            }
            _ => bail!("{INDEX} puts {tensor} into {file}, which is no .safetensors file"),
        }
    }
    Ok(files)
}

fn list(there: &[&str], end: &str) -> String {
    let names: Vec<&str> = there.iter().filter(|name| name.ends_with(end)).copied().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// Brings one file into `folder`, by a link to the Hub's cache where that is on the same disk.
async fn download(repo: &ApiRepo, name: &str, folder: &Path, ui: &Ui) -> Result<()> {
    let target = folder.join(name);
    if target.exists() {
        return Ok(());
    }
    // `get` would do both, but shows no progress.
    let shown = Shown { ui: ui.clone(), bar: None, done: Arc::default() };
    let cached = repo
        .download_with_progress(name, shown)
        .await
        .with_context(|| format!("cannot download {name}; the same command goes on with it"))?;
    let blob = cached.canonicalize().with_context(|| format!("{name} is not in the cache"))?;
    if let Err(error) = check(&blob) {
        fs::remove_file(&blob).context("cannot remove a damaged download")?;
        return Err(error.context(format!("{name} came damaged; fetch it again")));
    }
    fs::hard_link(&blob, &target)
        .or_else(|_| fs::copy(&blob, &target).map(|_| ()))
        .with_context(|| format!("cannot put {name} into {}", folder.display()))
}

/// Files that the Hub keeps in large-file storage lie in its cache under their SHA-256. Where Windows
/// refuses links to them they lie there under their own names, and are taken as they came.
fn check(blob: &Path) -> Result<()> {
    let name = blob.file_name().unwrap_or_default().to_string_lossy();
    if name.len() != 64 || !name.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut hash = Sha256::new();
    io::copy(&mut File::open(blob)?, &mut hash)?;
    let sha256: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if sha256 != name {
        bail!("its SHA-256 is {sha256} instead of {name}");
    }
    Ok(())
}

/// Shows how far a download is.
#[derive(Clone)]
struct Shown {
    ui: Ui,
    bar: Option<Bar>,
    done: Arc<AtomicU64>,
}

impl Progress for Shown {
    async fn init(&mut self, size: usize, file: &str) {
        self.bar = Some(self.ui.bar(file, Some(size as u64), Unit::Bytes));
    }

    async fn update(&mut self, size: usize) {
        let done = self.done.fetch_add(size as u64, Ordering::Relaxed) + size as u64;
        if let Some(bar) = &self.bar {
            bar.set(done);
        }
    }

    async fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}

#[cfg(test)]
mod tests;
