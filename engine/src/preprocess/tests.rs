//! Every processor against transformers' own, on the folders that `fixtures/processors/make.py` wrote.

use super::{Audio, Given, Image, Processor, resize};
use crate::{
    published::{Config, Inputs},
    weights::{Checkpoint, Folder, Source},
};
use pollster::block_on;
use record::Class;
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

/// Largest distance of a normalised pixel from transformers': one level of 255 would be 4e-3.
const PIXEL: f64 = 1e-5;
/// Largest distance of a normalised sample, or of a logarithm of power; CLAP's are decibels.
const SOUND: f64 = 1e-4;
/// Largest distance of the mean of all values, those that are not kept included.
const MEAN: f64 = 1e-5;

#[derive(Deserialize)]
struct Case {
    class: Class,
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    audio: Vec<String>,
    #[serde(default)]
    frames: Vec<String>,
    language: Option<String>,
    decoded: Option<Decoded>,
    expected: BTreeMap<String, Told>,
}

#[derive(Deserialize)]
struct Decoded {
    ids: Vec<u32>,
    text: String,
}

/// A tensor of which every so-manieth value is kept.
#[derive(Deserialize)]
struct Told {
    shape: Vec<usize>,
    every: usize,
    mean: f64,
}

fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/preprocess/fixtures/processors"))
}

fn input(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("inputs").join(name)).unwrap()
}

fn image(name: &str) -> Image {
    Image::decode(&input(&format!("{name}.png"))).unwrap()
}

fn table(folder: &Folder, file: &str) -> Checkpoint {
    block_on(Checkpoint::safetensors(folder, &[file.to_owned()])).unwrap()
}

fn given(case: &Case) -> Given {
    let images = |names: &[String]| names.iter().map(|name| image(name)).collect();
    let audio = |name: &String| Audio::decode(&input(&format!("{name}.wav"))).unwrap();
    Given {
        texts: case.texts.clone(),
        images: images(&case.images),
        audio: case.audio.iter().map(audio).collect(),
        frames: images(&case.frames),
        ..Given::default()
    }
}

fn open(class: Class, folder: &dyn Source) -> Processor {
    let size = folder.size("config.json").unwrap();
    let config = block_on(folder.read("config.json", 0..size)).unwrap();
    let config = Config::new(serde_json::from_slice(&config).unwrap()).unwrap();
    block_on(Processor::open(class, &config, folder)).unwrap()
}

#[test]
fn inputs_are_those_of_transformers() {
    let mut met = BTreeMap::new();
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = std::fs::read(path.join("case.json")) else { continue };
        let case: Case = serde_json::from_slice(&text).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let folder = Folder::new(&path);
        let mut processor = open(case.class, &folder);
        if let Some(language) = &case.language {
            processor = processor.with_language(language).unwrap();
        }
        let inputs = processor.inputs(&given(&case)).unwrap_or_else(|e| panic!("{name}: {e}"));
        failures.extend(compare(&name, &case, &inputs, &folder));
        if let Some(Decoded { ids, text }) = &case.decoded {
            assert_eq!(&processor.decode(ids), text, "{name}");
        }
        *met.entry(case.class).or_insert(0) += 1;
    }
    assert_eq!(met.len(), Class::ALL.len(), "{met:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn compare(name: &str, case: &Case, inputs: &Inputs, folder: &Folder) -> Vec<String> {
    let names = inputs.ints.keys().chain(inputs.floats.keys());
    let mut failures = Vec::new();
    let (mut got, wanted) = (names.collect::<Vec<_>>(), case.expected.keys().collect::<Vec<_>>());
    got.sort();
    if got != wanted {
        failures.push(format!("{name} has {got:?}, not {wanted:?}"));
    }
    let expected = table(folder, "expected.safetensors");
    for (tensor, Told { shape, every, mean }) in &case.expected {
        if let Some((own, values)) = inputs.ints.get(tensor) {
            let kept = block_on(expected.tensor_i64(folder, tensor)).unwrap();
            let values: Vec<i64> = values.iter().step_by(*every).copied().collect();
            if own != shape || values != kept {
                failures
                    .push(format!("{name} {tensor}: {own:?} {values:?}\nnot {shape:?} {kept:?}"));
            }
        } else if let Some((own, values)) = inputs.floats.get(tensor) {
            if own != shape {
                failures.push(format!("{name} {tensor} is {own:?}, not {shape:?}"));
                continue;
            }
            let kept = block_on(expected.tensor_f32(folder, tensor)).unwrap();
            let apart: Vec<f64> = values
                .iter()
                .step_by(*every)
                .zip(&kept)
                .map(|(a, b)| f64::from(a - b).abs())
                .collect();
            let most = apart.iter().copied().fold(0.0, f64::max);
            let average = apart.iter().sum::<f64>() / apart.len() as f64;
            let own_mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
            let bound = if tensor == "pixel_values" { PIXEL } else { SOUND };
            println!("{name} {tensor} {shape:?}: most {most:.1e}, average {average:.1e}");
            if !(most <= bound && (own_mean - mean).abs() <= MEAN) {
                let means = format!("means {own_mean} and {mean}");
                failures
                    .push(format!("{name} {tensor}: {most:.1e} and {average:.1e} off, {means}"));
            }
        }
    }
    failures
}

#[test]
fn resized_levels_are_those_of_torch() {
    let folder = Folder::new(fixtures());
    let expected = table(&folder, "resized.safetensors");
    let source = image("odd");
    assert_eq!(expected.tensors.len(), 18);
    for name in expected.tensors.keys() {
        let parts: Vec<usize> = name.split(' ').map(|part| part.parse().unwrap()).collect();
        let [filter, width, height] = parts[..] else { panic!("{name}") };
        let filter = resize::Filter::numbered(filter).unwrap();
        let resized = resize::resize(&source, width, height, filter).unwrap();
        let kept = block_on(expected.tensor_i64(&folder, name)).unwrap();
        let every = if width * height > 4000 { 3 } else { 1 };
        let own = resized.rgb.iter().step_by(every).map(|level| i64::from(*level));
        let apart: Vec<i64> = own.zip(&kept).map(|(a, b)| (a - b).abs()).collect();
        let most = apart.iter().max().unwrap();
        let count = apart.iter().filter(|apart| **apart > 0).count();
        assert_eq!((*most, apart.len()), (0, kept.len()), "{name}: {count} levels differ");
    }
}

#[test]
fn files_are_decoded_as_pillow_decodes_them() {
    let folder = Folder::new(fixtures());
    let expected = table(&folder, "decoded.safetensors");
    for (name, info) in &expected.tensors {
        let decoded = Image::decode(&input(name)).unwrap();
        assert_eq!(vec![decoded.height, decoded.width, 3], info.shape, "{name}");
        let kept = block_on(expected.tensor_i64(&folder, name)).unwrap();
        let apart = decoded.rgb.iter().zip(kept).map(|(a, b)| (i64::from(*a) - b).abs());
        let apart: Vec<i64> = apart.collect();
        let average = apart.iter().sum::<i64>() as f64 / apart.len() as f64;
        // Decoders of JPEG may round differently, those of PNG may not.
        let (most, mean) = if name.ends_with("png") { (0, 0.0) } else { (6, 0.6) };
        let own = *apart.iter().max().unwrap();
        assert!(own <= most && average <= mean, "{name}: {own} and {average} levels off");
    }
}

#[test]
fn samples_are_those_of_torchaudio() {
    let folder = Folder::new(fixtures());
    let expected = table(&folder, "resampled.safetensors");
    let samples = block_on(expected.tensor_f32(&folder, "samples")).unwrap();
    for name in expected.tensors.keys().filter(|name| *name != "samples") {
        let (own, rate) = name.split_once(' ').unwrap();
        let audio = Audio { rate: own.parse().unwrap(), samples: samples.clone() };
        let resampled = audio.resample(rate.parse().unwrap()).unwrap();
        let kept = block_on(expected.tensor_f32(&folder, name)).unwrap();
        assert_eq!(resampled.samples.len(), kept.len(), "{name}");
        for (a, b) in resampled.samples.iter().zip(kept) {
            assert!((a - b).abs() < 2e-6, "{name}: {a} {b}");
        }
    }
}

#[test]
fn every_kind_of_wav_holds_the_same_sound() {
    for kind in ["u8", "i16", "i24", "i32", "f32"] {
        let path = fixtures().join("formats").join(format!("{kind}.wav"));
        let audio = Audio::decode(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(audio.samples, [0.25, -0.375, 0.125, -0.1875], "{kind}");
        assert_eq!(audio.rate, 16_000);
    }
}

#[test]
fn compressed_sounds_are_the_recording_they_were_made_of() {
    let wave = Audio::decode(&input("short.wav")).unwrap();
    // A second channel of half the level leaves three quarters of it.
    let wanted: Vec<f64> = wave.samples.iter().map(|x| f64::from(*x) * 0.75).collect();
    let power = wanted.iter().map(|x| x * x).sum::<f64>();
    for (kind, bound) in [("flac", 1e-7), ("mp3", 0.03), ("ogg", 0.04)] {
        let path = fixtures().join("formats").join(format!("short.{kind}"));
        let audio = Audio::decode(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!((audio.rate, audio.samples.len()), (wave.rate, wanted.len()), "{kind}");
        let apart = audio.samples.iter().zip(&wanted).map(|(a, b)| (f64::from(*a) - b).powi(2));
        let apart = (apart.sum::<f64>() / power).sqrt();
        // One sample too early or too late would be 0.2 away.
        assert!(apart <= bound, "{kind}: {apart}");
    }
}
