//! What models are given to be compared or calibrated by: lines of a text, and files of pictures and sounds.

use crate::{
    input::{Input, Kind, frames, kind},
    ui::Ui,
};
use anyhow::{Context, Result, bail, ensure};
use engine::{
    evaluate::{Sample, Samples, own_inputs, own_samples},
    packing::Weights,
    preprocess::taken,
};
use record::Class;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a person has of samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    /// A text, each line of which is a sample or goes with each file.
    pub(crate) text: Option<&'a Path>,
    /// Recordings, pictures, and folders of them.
    pub(crate) files: &'a [PathBuf],
    /// How many are taken at most.
    pub(crate) most: usize,
}

impl Given<'_> {
    /// The samples for models like `weights`; a case has some of its own, if nothing is given.
    pub(crate) fn samples(self, weights: &Weights, ui: &Ui) -> Result<Vec<Sample>> {
        if self.text.is_none() && self.files.is_empty() {
            let mut samples = own_samples(weights)?;
            samples.truncate(self.most);
            return Ok(samples);
        }
        let (lines, files) = self.parts(weights.class())?;
        let made = Samples::of(weights)?;
        if files.is_empty() {
            let sample = |line: &String| {
                let input = Input::collect(&[], std::slice::from_ref(line))?;
                Ok(made.sample(&input.served.folder, &input.question, None)?)
            };
            return lines.iter().map(sample).collect();
        }
        let hears = taken(weights.class()) == ["audio"];
        let (mut found, mut silent) = (Vec::new(), 0);
        for file in &files {
            let beside = file.with_extension("txt");
            let said = match hears && beside.is_file() {
                true => Some(read_text(&beside)?),
                false => None,
            };
            silent += usize::from(said.is_none());
            let input = Input::collect(&[named(file)?], &lines)?;
            let sample = made.sample(&input.served.folder, &input.question, said);
            found.push(sample.with_context(|| format!("the sample {}", file.display()))?);
        }
        if hears && silent > 0 {
            let of = found.len();
            ui.warn(format!(
                "{silent} of {of} recordings have no text beside them, so words are held to what the reference hears"
            ));
        }
        Ok(found)
    }

    /// All of it as one sample, such as a calibration reads; a case has inputs of its own, if nothing is given.
    pub(crate) fn together(self, weights: &Weights) -> Result<Sample> {
        if self.text.is_none() && self.files.is_empty() {
            return Ok(own_inputs(weights)?);
        }
        let (lines, mut files) = self.parts(weights.class())?;
        if weights.class() == Class::Xclip {
            // A pass takes one video.
            files.truncate(1);
        }
        let files = files.iter().map(|file| named(file)).collect::<Result<Vec<_>>>()?;
        let input = Input::collect(&files, &lines)?;
        Ok(Samples::of(weights)?.sample(&input.served.folder, &input.question, None)?)
    }

    /// What it is called, for models like `weights`.
    pub(crate) fn name(self, weights: &Weights) -> String {
        let files = match self.files {
            [] => None,
            [one] => Some(name_of(one)),
            [first, rest @ ..] => Some(format!("{} and {} more", name_of(first), rest.len())),
        };
        let names: Vec<String> = files.into_iter().chain(self.text.map(name_of)).collect();
        match names.is_empty() {
            true if weights.has_samples() => "its held-out samples".to_owned(),
            true => "its own inputs".to_owned(),
            false => names.join(" with "),
        }
    }

    /// Lines and files that a class takes.
    fn parts(self, class: Class) -> Result<(Vec<String>, Vec<PathBuf>)> {
        let taken = taken(class);
        let lines = || self.text.map_or(Ok(Vec::new()), lines);
        if taken == ["texts"] {
            ensure!(
                self.files.is_empty(),
                "{class} reads no pictures or sounds, but texts, a line each"
            );
            let mut lines = lines()?;
            lines.truncate(self.most);
            return Ok((lines, Vec::new()));
        }
        ensure!(
            !self.files.is_empty(),
            "{class} takes {}: --input FILE or FOLDER",
            taken.join(" and ")
        );
        ensure!(
            self.text.is_none() || taken.contains(&"texts"),
            "{class} takes {} alone",
            taken.join(" and ")
        );
        let mut files = files(self.files, class)?;
        files.truncate(self.most);
        Ok((lines()?, files))
    }
}

fn named(file: &Path) -> Result<String> {
    let name = file.to_str().with_context(|| format!("{} is no UTF-8", file.display()))?;
    Ok(name.to_owned())
}

/// A text that a model reads.
pub(crate) fn read_text(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{} is no UTF-8: see byte {at}; save it as UTF-8", file.display())
    })
}

/// The name of a file or a folder.
pub(crate) fn name_of(path: &Path) -> String {
    let whole = path.canonicalize();
    let path = whole.as_deref().unwrap_or(path);
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The lines of a text in which there is something.
fn lines(file: &Path) -> Result<Vec<String>> {
    let text = read_text(file)?;
    let lines: Vec<String> = text.lines().map(str::trim).map(str::to_owned).collect();
    let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    ensure!(!lines.is_empty(), "there is no line in {}", file.display());
    Ok(lines)
}

/// Files and folders of frames that are a sample each, those of a folder by their names.
fn files(given: &[PathBuf], class: Class) -> Result<Vec<PathBuf>> {
    let wanted = match taken(class).contains(&"audio") {
        true => Kind::Sound,
        false => Kind::Picture,
    };
    let is_frames = |path: &Path| class == Class::Xclip && frames(path).is_ok();
    let mut found = Vec::new();
    for path in given {
        let context = || format!("reading {}", path.display());
        if path.is_file() || is_frames(path) {
            found.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(context)?;
        let mut inside = Vec::new();
        for entry in entries {
            let entry = entry.with_context(context)?.path();
            let is_wanted = match class {
                Class::Xclip => is_frames(&entry),
                _ => kind(&entry) == Some(wanted),
            };
            if is_wanted {
                inside.push(entry);
            }
        }
        if inside.is_empty() {
            bail!(
                "{} has nothing in it that {class} takes: {}",
                path.display(),
                taken(class).join(", ")
            );
        }
        inside.sort();
        found.extend(inside);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_samples_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b.wav", "a.WAV", "a.txt", "c.png"] {
            fs::write(path(name), "x").unwrap();
        }
        fs::create_dir_all(path("video")).unwrap();
        fs::write(path("video/1.png"), "x").unwrap();
        let names = |given: &str, class| {
            files(&[path(given)], class)
                .map(|files| files.iter().map(|file| name_of(file)).collect::<Vec<_>>())
        };
        assert_eq!(names("", Class::Whisper).unwrap(), ["a.WAV", "b.wav"]);
        assert_eq!(names("", Class::Vit).unwrap(), ["c.png"]);
        assert_eq!(names("c.png", Class::Vit).unwrap(), ["c.png"]);
        assert_eq!(names("video", Class::Xclip).unwrap(), ["video"]);
        let error = names("video", Class::Whisper).unwrap_err().to_string();
        assert!(error.contains("nothing in it that whisper takes: audio"), "{error}");
        assert!(names("absent", Class::Vit).is_err());
    }

    #[test]
    fn lines_without_words_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text.txt");
        fs::write(&file, "one\n\n  two \n").unwrap();
        assert_eq!(lines(&file).unwrap(), ["one", "two"]);
        fs::write(&file, "\n \n").unwrap();
        assert!(lines(&file).unwrap_err().to_string().contains("there is no line"));
    }
}
