//! A few inputs for each class, so that a model can be run without any of one's own.
//!
//! `builtin/make.py` made the files: drawn pictures, a second of speech, the frames of a ball that
//! rolls by.

use super::Input;
use anyhow::Result;
use record::Class;

const SENTENCES: [&str; 3] = [
    "A browser is a very small operating system.",
    "Web pages run in a sandbox.",
    "How many bits does a weight need before the answers change?",
];
const PROMPT: &str = "The lighthouse stood at the end of a long pier. Every evening the keeper climbed \
                      its stairs, lit the lamp, and wrote into his book which ships had passed. One \
                      night in November he saw a";
const TRANSLATION: &str =
    "translate English to German: The house at the river is small, old and blue.";
const CAPTIONS: [&str; 3] =
    ["a red ball on green grass", "a blue house under the sun", "a person who speaks"];
const QUESTION: &str = "What is in this picture?";

const BALL: &[u8] = include_bytes!("builtin/ball.jpg");
const HOUSE: &[u8] = include_bytes!("builtin/house.jpg");
const SPEECH: &[u8] = include_bytes!("builtin/speech.wav");
const FRAMES: [&[u8]; 8] = [
    include_bytes!("builtin/frame-1.jpg"),
    include_bytes!("builtin/frame-2.jpg"),
    include_bytes!("builtin/frame-3.jpg"),
    include_bytes!("builtin/frame-4.jpg"),
    include_bytes!("builtin/frame-5.jpg"),
    include_bytes!("builtin/frame-6.jpg"),
    include_bytes!("builtin/frame-7.jpg"),
    include_bytes!("builtin/frame-8.jpg"),
];

impl Input {
    /// What a class is given where nobody gives anything.
    pub(crate) fn builtin(class: Class) -> Result<Input> {
        let (texts, files): (&[&str], &[(&str, &[u8])]) = match class {
            Class::Bert => (&SENTENCES, &[]),
            Class::T5 => (&[TRANSLATION], &[]),
            Class::Llama | Class::Qwen2 => (&[PROMPT], &[]),
            Class::Whisper | Class::Wav2vec2 => (&[], &[("wav", SPEECH)]),
            Class::Clap => (&CAPTIONS, &[("wav", SPEECH)]),
            Class::Vit | Class::Detr => (&[], &[("jpg", BALL)]),
            Class::Clip => (&CAPTIONS, &[("jpg", BALL), ("jpg", HOUSE)]),
            Class::Llava | Class::LlavaNext => (&[QUESTION], &[("jpg", HOUSE)]),
            // Four times each, as some models look at 32 frames; those that look at 8 see each once.
            Class::Xclip => (&CAPTIONS, &FRAMES.map(|frame| [("jpg", frame); 4]).concat()),
        };
        let mut input = Input::empty()?;
        input.question.texts = texts.iter().map(|text| (*text).to_owned()).collect();
        for (kind, bytes) in files {
            input.put(kind, bytes)?;
        }
        Ok(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_given_what_it_takes() {
        for class in Class::ALL {
            let input = Input::builtin(*class).unwrap();
            let question = input.only(engine::preprocess::taken(*class));
            assert_eq!(question, input.question, "{class}");
            assert!(!question.texts.is_empty() || !input.served.files.is_empty(), "{class}");
        }
    }
}
