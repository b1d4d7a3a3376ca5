//! What both models are given: lines of a text, and files of pictures and sounds.

use super::Args;
use crate::{
    input::{Input, Kind, frames, kind},
    quantize::read_text,
    ui::Ui,
};
use anyhow::{Context, Result, bail, ensure};
use engine::{
    evaluate::{Sample, Samples, own_samples},
    packing::Weights,
    preprocess::taken,
};
use matrix::view::precision::Text;
use record::Class;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The samples for models like `reference`, and what they are called.
pub(super) fn samples(args: &Args, reference: &Weights, ui: &Ui) -> Result<(Vec<Sample>, Text)> {
    let named = |name: String| Text { name, context: 0 };
    if args.text.is_none() && args.input.is_empty() {
        return Ok((own_samples(reference)?, named("its own inputs".to_owned())));
    }
    let class = reference.class();
    let most = args.samples as usize;
    let lines = match &args.text {
        Some(file) => lines(file)?,
        None => Vec::new(),
    };
    let made = Samples::of(reference)?;
    if taken(class) == ["texts"] {
        ensure!(args.input.is_empty(), "{class} reads texts, a line each: --text FILE");
        let sample = |line: &String| {
            let input = Input::collect(&[], std::slice::from_ref(line))?;
            Ok(made.sample(&input.served.folder, &input.question, None)?)
        };
        let found = lines.iter().take(most).map(sample).collect::<Result<_>>()?;
        let file = args.text.as_ref().map_or_else(String::new, |file| name_of(file));
        return Ok((found, named(file)));
    }
    let wanted = taken(class).join(" and ");
    ensure!(!args.input.is_empty(), "{class} takes {wanted}: --input FILE or FOLDER");
    let files = files(&args.input, class)?;
    let files = &files[..files.len().min(most)];
    let texts = if taken(class).contains(&"texts") { &lines[..] } else { &[] };
    let mut found = Vec::new();
    let mut silent = 0;
    for file in files {
        let beside = file.with_extension("txt");
        let said = match beside.is_file() && taken(class) == ["audio"] {
            true => Some(read_text(&beside)?),
            false => None,
        };
        silent += usize::from(said.is_none());
        let name = file.to_str().with_context(|| format!("{} is no UTF-8", file.display()))?;
        let input = Input::collect(&[name.to_owned()], texts)?;
        let sample = made.sample(&input.served.folder, &input.question, said);
        found.push(sample.with_context(|| format!("the sample {}", file.display()))?);
    }
    if taken(class) == ["audio"] && silent > 0 {
        ui.warn(format!(
            "{silent} of {} recordings have no text beside them, so words are held to what the reference hears",
            found.len()
        ));
    }
    let name = match &args.input[..] {
        [one] => name_of(one),
        several => format!("{} and {} more", name_of(&several[0]), several.len() - 1),
    };
    let beside = args.text.as_ref().filter(|_| !texts.is_empty()).map(|file| name_of(file));
    Ok((found, named([Some(name), beside].into_iter().flatten().collect::<Vec<_>>().join(" with "))))
}

/// The name of a file or a folder.
pub(super) fn name_of(path: &Path) -> String {
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
            bail!("{} has nothing in it that {class} takes: {}", path.display(), taken(class).join(", "));
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
            files(&[path(given)], class).map(|files| {
                files.iter().map(|file| name_of(file)).collect::<Vec<_>>()
            })
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
