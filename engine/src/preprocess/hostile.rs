//! What comes from anywhere: cut off, empty, enormous or of the wrong type. Each is refused in words
//! that name it, and nothing panics or takes memory for what a header merely claims.

use super::{Audio, Given, Image, Processor};
use crate::{error::Result, published::Config, weights::Memory};
use record::Class;
use serde_json::{Value, json};

const PNG: &[u8] = include_bytes!("fixtures/processors/inputs/odd.png");
const JPEG: &[u8] = include_bytes!("fixtures/processors/inputs/odd.jpg");
const WAV: &[u8] = include_bytes!("fixtures/processors/formats/i24.wav");
const COMPRESSED: [(&str, &[u8]); 3] = [
    ("flac", include_bytes!("fixtures/processors/formats/short.flac")),
    ("mp3", include_bytes!("fixtures/processors/formats/short.mp3")),
    ("ogg", include_bytes!("fixtures/processors/formats/short.ogg")),
];

fn open(class: Class, config: Value, files: &[(&str, Value)]) -> Result<Processor> {
    let memory = files.iter().fold(Memory::new(), |memory, (name, value)| {
        memory.with(format!("{name}.json"), value.to_string())
    });
    pollster::block_on(Processor::open(class, &Config::new(config).unwrap(), &memory))
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

fn grey(width: usize, height: usize) -> Image {
    Image { width, height, rgb: vec![128; width * height * 3] }
}

fn images(images: Vec<Image>) -> Given {
    Given { images, ..Given::default() }
}

fn audio(rate: u32, samples: Vec<f32>) -> Given {
    Given { audio: vec![Audio { rate, samples }], ..Given::default() }
}

#[test]
fn files_that_are_cut_off_are_refused() {
    for len in 0..PNG.len() {
        // The last bytes of a PNG say only that it is over.
        if let Err(error) = Image::decode(&PNG[..len]) {
            assert!(error.to_string().starts_with("input image: is not a PNG or JPEG"), "{error}");
        } else {
            assert!(len + 16 > PNG.len(), "{len} of {} bytes are enough", PNG.len());
        }
    }
    for len in 0..JPEG.len() {
        // Decoders of JPEG show what is there; the header alone is nothing.
        let shown = Image::decode(&JPEG[..len]);
        assert!(len > 200 || shown.is_err(), "{len}");
    }
    for len in 0..WAV.len() {
        let error = refusal(Audio::decode(&WAV[..len]));
        assert!(error.starts_with("input audio: "), "{len}: {error}");
    }
    for (kind, file) in COMPRESSED {
        let whole = Audio::decode(file).unwrap().samples.len();
        for len in (0..file.len()).step_by(97).chain(0..200) {
            match Audio::decode(&file[..len]).map(|audio| audio.samples.len()) {
                // An Ogg file says nowhere how long it is.
                Ok(samples) => assert!(kind == "ogg" && samples < whole, "{kind} {len}: {samples}"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.starts_with("input audio: "), "{kind} {len}: {error}");
                }
            }
        }
    }
}

#[test]
fn bytes_that_are_changed_do_not_panic() {
    for file in [PNG, JPEG, WAV] {
        for place in 0..file.len().min(600) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = file.to_vec();
                bytes[place] = value;
                let _ = (Image::decode(&bytes), Audio::decode(&bytes));
            }
        }
    }
    for (_, file) in COMPRESSED {
        // Headers come first, and the end of an Ogg file is read before the rest.
        let places = (0..600).chain(file.len() - 400..file.len());
        for place in places {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = file.to_vec();
                bytes[place] = value;
                let _ = Audio::decode(&bytes);
            }
        }
    }
}

#[test]
fn sizes_that_are_claimed_are_not_believed() {
    let mut png = PNG.to_vec();
    png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    assert!(refusal(Image::decode(&png)).starts_with("input image: "));
    let mut wav = WAV.to_vec();
    wav[40..44].copy_from_slice(&[0xf0, 0xff, 0xff, 0xff]);
    assert!(refusal(Audio::decode(&wav)).starts_with("input audio: "));

    let vit = open(Class::Vit, json!({}), &[]).unwrap();
    for image in [grey(0, 0), grey(0, 5), Image { width: usize::MAX, height: 2, rgb: vec![] }] {
        let error = refusal(vit.inputs(&images(vec![image])));
        assert!(error.contains("three a pixel"), "{error}");
    }
    // A line as long as images may be, of which the shorter side would become 224.
    let clip = open(Class::Clip, json!({}), &[]).unwrap();
    let error = refusal(clip.inputs(&images(vec![grey(16_384, 1)])));
    assert!(error.contains("would be resized to"), "{error}");
    let detr = open(Class::Detr, json!({}), &[]).unwrap();
    let error = refusal(detr.inputs(&images(vec![grey(16_384, 1)])));
    assert!(error.contains("would be resized to"), "{error}");
}

#[test]
fn sounds_that_are_none_are_refused() {
    let whisper = open(Class::Whisper, json!({}), &[]).unwrap();
    for (given, reason) in [
        (audio(16_000, vec![]), "has no samples"),
        (audio(16_000, vec![0.0, f32::NAN]), "sample 1 is not a finite number"),
        (audio(0, vec![0.0]), "0 samples a second"),
        (audio(u32::MAX, vec![0.0]), "samples a second are not in"),
    ] {
        let error = refusal(whisper.inputs(&given));
        assert!(error.contains(reason), "{error}");
    }
    // One sample is a sound.
    whisper.inputs(&audio(44_100, vec![0.5])).unwrap();
    let waves = open(Class::Wav2vec2, json!({}), &[]).unwrap();
    let inputs = waves.inputs(&audio(16_000, vec![0.5])).unwrap();
    assert_eq!(inputs.floats["input_values"], (vec![1, 1], vec![0.0]));
    let clap = open(Class::Clap, json!({}), &[]).unwrap();
    assert_eq!(clap.inputs(&audio(48_000, vec![0.5])).unwrap().ints["is_longer"].1, [1]);
}

#[test]
fn settings_of_the_wrong_type_are_named() {
    let own = |value| vec![("preprocessor_config", value)];
    for (class, files, reason) in [
        (Class::Vit, own(json!([])), "preprocessor_config.json is malformed: is not a JSON object"),
        (Class::Vit, own(json!({"size": "large"})), "size: \"large\" is not a size"),
        (Class::Vit, own(json!({"size": {"height": 0, "width": 2}})), "height: 0 is not a size"),
        (Class::Vit, own(json!({"size": {"height": 2}})), "names neither edges nor sides"),
        (Class::Vit, own(json!({"size": [1, 2, 3]})), "is not a pair"),
        (Class::Vit, own(json!({"resample": 0})), "resample: 0 is unknown"),
        (Class::Vit, own(json!({"image_mean": [1, 2]})), "image_mean: [1,2] is not three numbers"),
        (Class::Vit, own(json!({"image_std": [1, 0, 1]})), "image_std: is 0"),
        (Class::Vit, own(json!({"rescale_factor": 0})), "rescale_factor: 0 is not above 0"),
        (Class::Vit, own(json!({"image_processor_type": "Fuyu"})), "Fuyu is not known"),
        (Class::Clip, own(json!({"crop_size": {"shortest_edge": 3}})), "a height and a width"),
        (Class::Whisper, own(json!({"n_fft": 1 << 20})), "windows have 2 to 1024 samples"),
        (Class::Whisper, own(json!({"hop_length": 0})), "hop_length: 0 is not a size"),
        (Class::Whisper, own(json!({"chunk_length": 1 << 24})), "are too many"),
        (Class::Whisper, own(json!({"dither": 0.5})), "dither: is random"),
        (Class::Clap, own(json!({"truncation": "none"})), "use fusion or rand_trunc"),
        (Class::Clap, own(json!({"padding": 1})), "padding: 1 is not a string"),
        (Class::Clap, own(json!({"frequency_max": -1})), "no range of frequencies"),
        (Class::Wav2vec2, own(json!({"feature_size": 2})), "feature_size: must be 1"),
        (Class::LlavaNext, own(json!({"image_grid_pinpoints": 3})), "is not a list of pairs"),
        (
            Class::LlavaNext,
            own(json!({"image_grid_pinpoints": [[224, 1u64 << 40]]})),
            "are not multiples of tiles of 224 pixels",
        ),
        (
            Class::Vit,
            vec![("processor_config", json!({"image_processor": 3}))],
            "processor_config.json is malformed: image_processor: 3 is not an object",
        ),
        (
            Class::Bert,
            vec![("tokenizer_config", json!({"padding_side": "top"}))],
            "tokenizer_config.json is malformed: padding_side: \"top\" is neither side",
        ),
        (
            Class::Whisper,
            vec![("generation_config", json!({"forced_decoder_ids": {}}))],
            "generation_config.json is malformed: forced_decoder_ids",
        ),
        (Class::Wav2vec2, vec![("vocab", json!([1]))], "vocab.json is malformed"),
        (Class::Bert, vec![("tokenizer", json!({}))], "tokenizer.json is malformed"),
    ] {
        let error = refusal(open(class, json!({"vocab_size": 51_864}), &files));
        assert!(error.contains(reason), "{class} {files:?}: {error}");
    }
}

#[test]
fn what_a_class_does_not_take_is_refused() {
    let vit = open(Class::Vit, json!({}), &[]).unwrap();
    assert_eq!(
        refusal(vit.inputs(&Given::default())),
        "input images: nothing is given: vit takes images"
    );
    assert_eq!(
        refusal(vit.inputs(&audio(16_000, vec![0.0]))),
        "input audio: vit does not take them, it takes images"
    );
    assert_eq!(refusal(vit.with_language("de")), "input language: vit has none to choose");
    let clip = open(Class::Clip, json!({}), &[]).unwrap();
    let texts = Given { texts: vec!["a cat".to_owned()], ..Given::default() };
    let error = refusal(clip.inputs(&texts));
    assert!(error.starts_with("cannot read tokenizer.json: texts need it"), "{error}");
    let unlike = open(
        Class::Clip,
        json!({}),
        &[("preprocessor_config", json!({"do_center_crop": false, "size": 8}))],
    );
    let error = refusal(unlike.unwrap().inputs(&images(vec![grey(9, 5), grey(5, 9)])));
    assert!(error.contains("have different sizes after preparation"), "{error}");
    let llava = open(Class::Llava, json!({}), &[]).unwrap();
    let error = refusal(llava.inputs(&images(vec![grey(9, 5)])));
    assert!(error.contains("name 0 images by <image>, and 1 are given"), "{error}");
    let xclip = open(Class::Xclip, json!({}), &[]).unwrap();
    let few = Given { frames: vec![grey(9, 5); 3], ..Given::default() };
    let error = refusal(xclip.inputs(&few));
    assert!(error.contains("are 3, the model looks at 8 (num_frames)"), "{error}");
    let english = open(Class::Whisper, json!({"vocab_size": 51_864}), &[]).unwrap();
    let error = refusal(english.with_language("de"));
    assert!(error.contains("is not English"), "{error}");
}
