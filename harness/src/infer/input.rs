//! Which model is meant, and what is given to it.

use super::Args;
use crate::{cases, models, server::Served, ui::Ui};
use anyhow::{Context, Result, bail, ensure};
use record::{CaseFile, Question};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const IMAGES: [&str; 3] = ["png", "jpg", "jpeg"];
const SOUNDS: [&str; 1] = ["wav"];

/// The folder of the model called `name` and those of its files that are taken.
pub(crate) fn model(name: &str, may_fetch: bool, ui: &Ui) -> Result<Served> {
    let path = Path::new(name);
    let served = |folder: &Path, files| Served {
        name: "model".to_owned(),
        folder: folder.to_owned(),
        files,
    };
    if path.is_file() {
        ensure!(
            path.extension().is_some_and(|extension| extension == "gguf"),
            "{name} is neither a folder nor a .gguf file"
        );
        let path = path.canonicalize().with_context(|| format!("reading {name}"))?;
        let file =
            path.file_name().and_then(|name| name.to_str()).context("its name is no UTF-8")?;
        let bytes = fs::metadata(&path)?.len();
        let folder = path.parent().context("a file is in a folder")?;
        return Ok(served(folder, vec![CaseFile { name: file.to_owned(), bytes }]));
    }
    let folder = match path.is_dir() {
        true => path.to_owned(),
        false => {
            let is_known = models::NAMES.contains(&name) || name.contains('/');
            if models::case_folder(name).is_none() && is_known && may_fetch {
                models::fetch(name, ui).with_context(|| format!("fetching the model {name}"))?;
            }
            models::case_folder(name).with_context(|| {
                let known = models::NAMES.join(", ");
                format!("{name} is no folder and no model on this machine; known by name: {known}")
            })?
        }
    };
    let folder = folder.canonicalize().with_context(|| format!("reading {name}"))?;
    let files = cases::files(&folder).with_context(|| format!("the model in {name}"))?;
    Ok(served(&folder, files))
}

/// What is given, in a scratch folder.
pub(super) struct Input {
    /// Goes away with this value.
    scratch: TempDir,
    pub served: Served,
    pub question: Question,
}

impl Input {
    pub(super) fn collect(args: &Args) -> Result<Input> {
        let scratch = TempDir::with_prefix("fewbit-input-").context("a scratch folder")?;
        let question = Question { language: args.language.clone(), ..Question::default() };
        let served = Served {
            name: "input".to_owned(),
            folder: scratch.path().to_owned(),
            files: Vec::new(),
        };
        let mut input = Input { scratch, served, question };
        for given in &args.input {
            let path = Path::new(given);
            if path.is_dir() {
                for frame in frames(path)? {
                    input.take(&frame)?;
                }
            } else if path.is_file() {
                input.take(path)?;
            } else {
                let is_name = kind(path).is_some() && !given.contains(char::is_whitespace);
                ensure!(!is_name, "there is no file {given}; a text that looks like one is --text");
                input.question.texts.push(given.clone());
            }
        }
        input.question.texts.extend(args.text.iter().cloned());
        Ok(input)
    }

    fn take(&mut self, path: &Path) -> Result<()> {
        let context = || format!("reading {}", path.display());
        let Some(kind) = kind(path) else {
            bail!("{} is none of .wav, .png, .jpg and .txt", path.display());
        };
        if kind == "txt" {
            let text = fs::read_to_string(path).with_context(context)?;
            self.question.texts.push(text.trim_end().to_owned());
            return Ok(());
        }
        // Names of people's files may hold anything; these cannot.
        let name = format!("{}.{kind}", self.served.files.len());
        let bytes = fs::copy(path, self.scratch.path().join(&name)).with_context(context)?;
        match SOUNDS.contains(&kind.as_str()) {
            true => self.question.audio.push(name.clone()),
            false => self.question.images.push(name.clone()),
        }
        self.served.files.push(CaseFile { name, bytes });
        Ok(())
    }
}

/// The extension of a file that can be given, in lower case.
fn kind(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?.to_lowercase();
    let known = IMAGES.iter().chain(&SOUNDS).chain(&["txt"]);
    known.into_iter().any(|known| **known == extension).then_some(extension)
}

/// The pictures in a folder in the order of their names.
fn frames(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("reading the folder {}", folder.display());
    let mut frames = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if kind(&path).is_some_and(|kind| IMAGES.contains(&kind.as_str())) {
            frames.push(path);
        }
    }
    ensure!(!frames.is_empty(), "{} has no .png or .jpg files", folder.display());
    frames.sort();
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn collect(words: &[&str]) -> Result<Input> {
        let line = [&["infer", "--model", "m"], words].concat();
        Input::collect(&Line::try_parse_from(line).unwrap().args)
    }

    #[test]
    fn files_are_taken_by_their_kind_and_the_rest_is_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir(path("video")).unwrap();
        for (name, text) in [
            ("a.WAV", "sound"),
            ("b.txt", "from a file\n"),
            ("video/2.png", "second"),
            ("video/1.jpg", "first"),
            ("video/notes.md", ""),
        ] {
            fs::write(path(name), text).unwrap();
        }
        let (sound, text, video) = (path("a.WAV"), path("b.txt"), path("video"));
        let input = collect(&["--input", &sound, "hello there", &text, &video, "--text", "c.wav"]);
        let input = input.unwrap();
        assert_eq!(input.question.texts, ["hello there", "from a file", "c.wav"]);
        assert_eq!(input.question.audio, ["0.wav"]);
        assert_eq!(input.question.images, ["1.jpg", "2.png"]);
        let first = fs::read_to_string(input.served.folder.join("1.jpg")).unwrap();
        assert_eq!((first.as_str(), input.served.files[1].bytes), ("first", 5));
    }

    #[test]
    fn a_file_that_is_not_there_is_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("a.mp3");
        fs::write(&other, "").unwrap();
        for (given, said) in [
            ("absent.wav", "no file absent.wav"),
            (other.to_str().unwrap(), "none of .wav, .png"),
            (folder.path().to_str().unwrap(), "has no .png or .jpg"),
        ] {
            let error = collect(&["--input", given]).err().unwrap().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
