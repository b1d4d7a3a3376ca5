//! What is given to a model: texts, and files of pictures, sounds and frames.
//!
//! Where nothing is given, [`builtin`] has a few inputs for each class.

mod builtin;

use crate::server::Served;
use anyhow::{Context, Result, bail, ensure};
use record::{CaseFile, Question};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const IMAGES: [&str; 3] = ["png", "jpg", "jpeg"];
const SOUNDS: [&str; 4] = ["wav", "flac", "mp3", "ogg"];

/// What is given, in a scratch folder.
#[derive(Debug)]
pub(crate) struct Input {
    /// Goes away with this value.
    scratch: TempDir,
    pub(crate) served: Served,
    pub(crate) question: Question,
}

impl Input {
    /// Nothing yet.
    fn empty() -> Result<Input> {
        let scratch = TempDir::with_prefix("fewbit-input-").context("a scratch folder")?;
        let served = Served {
            name: "input".to_owned(),
            folder: scratch.path().to_owned(),
            files: Vec::new(),
        };
        Ok(Input { scratch, served, question: Question::default() })
    }

    /// Texts, and files and folders of frames by their paths.
    pub(crate) fn collect(given: &[String], texts: &[String]) -> Result<Input> {
        let mut input = Input::empty()?;
        for given in given {
            let path = Path::new(given);
            if path.is_dir() {
                for frame in frames(path)? {
                    input.take(&frame)?;
                }
            } else if path.is_file() {
                input.take(path)?;
            } else {
                let is_name = extension(path).is_some() && !given.contains(char::is_whitespace);
                ensure!(!is_name, "there is no file {given}; a text that looks like one is --text");
                input.question.texts.push(given.clone());
            }
        }
        input.question.texts.extend(texts.iter().cloned());
        Ok(input)
    }

    fn take(&mut self, path: &Path) -> Result<()> {
        let context = || format!("reading {}", path.display());
        let Some(kind) = extension(path) else {
            bail!("{} is none of .wav, .flac, .mp3, .ogg, .png, .jpg and .txt", path.display());
        };
        if kind == "txt" {
            let text = fs::read_to_string(path).with_context(context)?;
            self.question.texts.push(text.trim_end().to_owned());
            return Ok(());
        }
        let bytes = fs::read(path).with_context(context)?;
        self.put(&kind, &bytes)
    }

    /// Keeps a picture or a sound. Names of people's files may hold anything; these cannot.
    fn put(&mut self, kind: &str, bytes: &[u8]) -> Result<()> {
        let name = format!("{}.{kind}", self.served.files.len());
        fs::write(self.scratch.path().join(&name), bytes).context("writing a scratch file")?;
        match SOUNDS.contains(&kind) {
            true => self.question.audio.push(name.clone()),
            false => self.question.images.push(name.clone()),
        }
        self.served.files.push(CaseFile { name, bytes: bytes.len() as u64 });
        Ok(())
    }

    /// Those parts of it that a model takes, which are called as the fields of a question are.
    pub(crate) fn only(&self, taken: &[&str]) -> Question {
        let keep = |kinds: &[&str], given: &[String]| match kinds.iter().any(|k| taken.contains(k))
        {
            true => given.to_vec(),
            false => Vec::new(),
        };
        Question {
            texts: keep(&["texts"], &self.question.texts),
            images: keep(&["images", "frames"], &self.question.images),
            audio: keep(&["audio"], &self.question.audio),
            ..self.question.clone()
        }
    }
}

/// What a file can hold beside text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something to see.
    Picture,
    /// Something to hear.
    Sound,
}

/// What is in a file, by its name.
pub(crate) fn kind(path: &Path) -> Option<Kind> {
    let extension = extension(path)?;
    let is_one_of = |known: &[&str]| known.contains(&extension.as_str());
    let sound = is_one_of(&SOUNDS).then_some(Kind::Sound);
    sound.or(is_one_of(&IMAGES).then_some(Kind::Picture))
}

/// The extension of a file that can be given, in lower case.
fn extension(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?.to_lowercase();
    let known = IMAGES.iter().chain(&SOUNDS).chain(&["txt"]);
    known.into_iter().any(|known| **known == extension).then_some(extension)
}

/// The pictures in a folder in the order of their names.
pub(crate) fn frames(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("reading the folder {}", folder.display());
    let mut frames = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if kind(&path) == Some(Kind::Picture) {
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

    fn collect(given: &[&str], texts: &[&str]) -> Result<Input> {
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Input::collect(&words(given), &words(texts))
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
        let input = collect(&[&sound, "hello there", &text, &video], &["c.wav"]).unwrap();
        assert_eq!(input.question.texts, ["hello there", "from a file", "c.wav"]);
        assert_eq!(input.question.audio, ["0.wav"]);
        assert_eq!(input.question.images, ["1.jpg", "2.png"]);
        let first = fs::read_to_string(input.served.folder.join("1.jpg")).unwrap();
        assert_eq!((first.as_str(), input.served.files[1].bytes), ("first", 5));

        let heard = input.only(&["audio"]);
        assert_eq!(
            (heard.audio, heard.images.len(), heard.texts.len()),
            (vec!["0.wav".into()], 0, 0)
        );
        assert_eq!(input.only(&["texts", "frames"]).images, input.question.images);
    }

    #[test]
    fn a_file_that_is_not_there_is_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("a.opus");
        fs::write(&other, "").unwrap();
        for (given, said) in [
            ("absent.wav", "no file absent.wav"),
            (other.to_str().unwrap(), "none of .wav, .flac"),
            (folder.path().to_str().unwrap(), "has no .png or .jpg"),
        ] {
            let error = collect(&[given], &[]).err().unwrap().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
