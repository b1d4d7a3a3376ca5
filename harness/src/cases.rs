//! Finds case folders and says what is wrong with one.
//!
//! A case folder holds a model as Hugging Face or llama.cpp publish it, plus `case.json` that names
//! the class and the files with inputs and expected outputs:
//!
//! ```text
//! bert-tiny/
//!   config.json  model.safetensors        or *.gguf
//!   case.json    {"class": "bert", "inputs": "inputs.safetensors", "expected": "expected.safetensors"}
//!   inputs.safetensors  expected.safetensors
//! ```
//!
//! A case of a published size holds no weights. It lists their names and shapes, describes its
//! inputs, and the engine computes seeded numbers for both; nothing is expected of them:
//!
//! ```text
//! bert-base-uncased/
//!   config.json  tensors.txt
//!   case.json    {"class": "bert", "weights": {"tensors": "tensors.txt", "seed": 1},
//!                 "inputs": {"input_ids": {"ids": {"shape": [1, 128], "below": 30522}}}}
//! ```

use crate::{files::files, home::Home, models::located::is_published};
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use record::{CaseFile, CaseManifest, Class};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A case folder that has all its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Name of the folder.
    pub name: String,
    /// What `case.json` says.
    pub class: Class,
    /// The folder.
    pub folder: PathBuf,
    /// Every file in it.
    pub files: Vec<CaseFile>,
    /// Whether its weights are seeded numbers.
    pub synthetic_weights: bool,
    /// Whether nobody has trained the model.
    pub untrained: bool,
    /// The arguments that select this case on the command line.
    pub selector: Vec<String>,
}

/// How large the committed cases are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Size {
    /// Tiny models with seeded weights and what transformers computes with them.
    #[default]
    Tiny,
    /// Small models that have learnt a task, with samples that say how often they are right.
    Trained,
    /// Published checkpoints by name, with seeded weights of their shapes: for speed and memory.
    Published,
}

impl Size {
    /// The committed cases of this size.
    pub fn cases(self) -> Result<Vec<Case>> {
        let home = Home::find()?;
        match self {
            Size::Tiny => committed(&home.cases("zoo"), &[]),
            Size::Trained => committed(&home.cases("trained"), &["--size", "trained"]),
            Size::Published => published(&home.cases("published")),
        }
    }
}

impl Case {
    /// Reads the case in `folder`.
    pub fn open(folder: &Path, selector: Vec<String>) -> Result<Case> {
        Case::read(folder, selector).with_context(|| format!("case folder {}", folder.display()))
    }

    fn read(folder: &Path, selector: Vec<String>) -> Result<Case> {
        let folder = folder.canonicalize().context("it does not exist or cannot be read")?;
        let name = folder.file_name().and_then(|name| name.to_str());
        let name = name.context("its name is not UTF-8")?.to_owned();
        let files = files(&folder)?;
        let has = |name: &str| files.iter().any(|file| file.name == name);
        let ends = |end: &str| files.iter().any(|file| file.name.ends_with(end));

        ensure!(has("case.json"), "case.json is missing; it names class, inputs and expected");
        let text = fs::read_to_string(folder.join("case.json")).context("reading case.json")?;
        let case: CaseManifest = serde_json::from_str(&text).context("case.json is malformed")?;
        if let Some(problem) = case.problem() {
            bail!("case.json contradicts itself: {problem}");
        }
        let named = case.files();
        for (field, file) in &named {
            ensure!(has(file), "case.json names {file:?} as {field}, but there is no such file");
        }

        let weights = |file: &CaseFile| {
            file.name.ends_with(".safetensors") && named.iter().all(|(_, name)| *name != file.name)
        };
        if !ends(".gguf") {
            ensure!(has("config.json"), "neither config.json nor a .gguf file is there");
            let text = fs::read_to_string(folder.join("config.json")).context("config.json")?;
            serde_json::from_str::<serde_json::Map<_, _>>(&text)
                .context("config.json is not a JSON object")?;
            ensure!(
                case.weights.is_some() || files.iter().any(weights),
                "the weights are missing: neither model.safetensors nor a .gguf file is there"
            );
        }
        Ok(Case {
            name,
            class: case.class,
            folder,
            files,
            synthetic_weights: case.weights.is_some(),
            untrained: case.untrained,
            selector,
        })
    }
}

/// The case in `path`, or the cases in the folders directly below it; `make` makes one of a model as
/// it was published, which is selected by these words.
pub fn given(path: &Path, make: &dyn Fn(&Path, Vec<String>) -> Result<Case>) -> Result<Vec<Case>> {
    let one = |path: &Path| {
        let selector = vec!["--cases".to_owned(), path.display().to_string()];
        match is_published(path) {
            true => make(path, selector),
            false => Case::open(path, selector),
        }
    };
    if is_published(path) || path.join("case.json").exists() {
        return Ok(vec![one(path)?]);
    }
    let cases: Vec<Case> = folders(path)?.iter().map(|path| one(path)).collect::<Result<_>>()?;
    ensure!(
        !cases.is_empty(),
        "{} is neither a model, nor a case folder, nor a folder of such: config.json, a .gguf file or \
         case.json is missing",
        path.display()
    );
    Ok(cases)
}

/// The cases that are committed with the harness, ordered by class: `tests/zoo/<class>/<name>/`; they are selected by
/// these words and their names.
pub fn committed(zoo: &Path, selector: &[&str]) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for class in Class::ALL {
        let folder = zoo.join(class.name());
        if !folder.is_dir() {
            continue;
        }
        for folder in folders(&folder)? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let selector = selector.iter().copied().chain(["--models", &name]);
            let case = Case::open(&folder, selector.map(str::to_owned).collect())?;
            ensure!(
                case.class == *class,
                "{} is a case of {} in the folder of {class}",
                folder.display(),
                case.class
            );
            cases.push(case);
        }
    }
    Ok(cases)
}

/// The checkpoints that are committed without their weights, ordered by class.
fn published(folder: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for folder in folders(folder)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let selector = ["--size", "published", "--models", &name].map(str::to_owned);
        cases.push(Case::open(&folder, selector.to_vec())?);
    }
    cases.sort_by_key(|case| case.class);
    Ok(cases)
}

fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    let context = || format!("reading the folder {}", path.display());
    for entry in fs::read_dir(path).with_context(context)? {
        let entry = entry.with_context(context)?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn no_model(path: &Path, _selector: Vec<String>) -> Result<Case> {
        bail!("{} is a model", path.display())
    }

    const CASE: (&str, &str) =
        ("case.json", r#"{"class":"vit","inputs":"i.safetensors","expected":"e.safetensors"}"#);
    const REST: [(&str, &str); 4] = [
        ("config.json", "{}"),
        ("i.safetensors", "1"),
        ("e.safetensors", "22"),
        ("model.safetensors", "333"),
    ];

    #[test]
    fn a_whole_case_is_listed_with_sizes() {
        let folder = folder(&[&[CASE], &REST[..]].concat());
        let case = &given(folder.path(), &no_model).unwrap()[0];
        assert_eq!(case.class, Class::Vit);
        assert_eq!(case.files.len(), 5);
        assert!(case.files.contains(&CaseFile { name: "model.safetensors".into(), bytes: 3 }));
        assert_eq!(case.selector, ["--cases", &folder.path().display().to_string()]);
    }

    #[test]
    fn each_missing_piece_is_named() {
        let whole = [&[CASE], &REST[..]].concat();
        for (left_out, said) in [
            ("case.json", "case.json is missing"),
            ("config.json", "neither config.json nor a .gguf"),
            ("i.safetensors", "\"i.safetensors\" as inputs"),
            ("e.safetensors", "\"e.safetensors\" as expected"),
            ("model.safetensors", "the weights are missing"),
        ] {
            let files: Vec<_> =
                whole.iter().copied().filter(|(name, _)| *name != left_out).collect();
            let folder = folder(&files);
            let error = format!("{:#}", Case::open(folder.path(), vec![]).unwrap_err());
            assert!(error.contains(said), "{left_out}: {error}");
        }
    }

    #[test]
    fn an_unknown_class_is_answered_with_the_known_ones() {
        let bad = (
            "case.json",
            r#"{"class":"gpt2","inputs":"i.safetensors","expected":"e.safetensors"}"#,
        );
        let folder = folder(&[&[bad], &REST[..]].concat());
        let error = format!("{:#}", given(folder.path(), &no_model).unwrap_err());
        assert!(error.contains("unknown variant `gpt2`, expected one of `bert`"), "{error}");
    }

    #[test]
    fn a_case_may_list_weights_instead_of_holding_them() {
        let open = |case: String| {
            let files = [("case.json", case.as_str()), ("config.json", "{}"), ("t.txt", "w 2 2")];
            let folder = folder(&files);
            Case::open(folder.path(), vec![]).map_err(|error| format!("{error:#}"))
        };
        let inputs = r#""inputs":{"pixel_values":{"normal":[1,3,8,8]}}"#;
        let listed = r#""weights":{"tensors":"t.txt","seed":1}"#;
        let case = open(format!(r#"{{"class":"vit",{inputs},{listed}}}"#)).unwrap();
        assert!(case.synthetic_weights && case.files.len() == 3);
        for (fields, said) in [
            (format!("{inputs},{}", listed.replace("t.txt", "u.txt")), "\"u.txt\" as tensors"),
            (format!(r#"{inputs},{listed},"expected":"t.txt""#), "outputs of weights that are"),
            (inputs.to_owned(), "names no file as expected"),
            (format!(r#""inputs":{{}},{listed}"#), "describes no inputs"),
            (format!(r#"{inputs},"weights":{{"tensors":"t.txt"}}"#), "missing field `seed`"),
        ] {
            let error = open(format!(r#"{{"class":"vit",{fields}}}"#)).unwrap_err();
            assert!(error.contains(said), "{fields}: {error}");
        }
    }

    #[test]
    fn published_checkpoints_are_cases_that_select_themselves() {
        let cases = Size::Published.cases().unwrap();
        let case = cases.iter().find(|case| case.name == "vit-base-patch16-224").unwrap();
        assert_eq!(case.class, Class::Vit);
        assert_eq!(case.selector, ["--size", "published", "--models", "vit-base-patch16-224"]);
        assert!(cases.iter().all(|case| case.synthetic_weights));
        assert!(Size::Tiny.cases().unwrap().iter().all(|case| !case.synthetic_weights));
    }

    #[cfg(unix)]
    #[test]
    fn symlinks_to_files_count_and_dangling_ones_are_named() {
        let whole = folder(&[&[CASE], &REST[..]].concat());
        let linked = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(whole.path()).unwrap() {
            let entry = entry.unwrap();
            std::os::unix::fs::symlink(entry.path(), linked.path().join(entry.file_name()))
                .unwrap();
        }
        assert_eq!(given(linked.path(), &no_model).unwrap()[0].files.len(), 5);
        fs::remove_file(whole.path().join("model.safetensors")).unwrap();
        let error = format!("{:#}", given(linked.path(), &no_model).unwrap_err());
        assert!(error.contains("model.safetensors cannot be read"), "{error}");
    }
}
