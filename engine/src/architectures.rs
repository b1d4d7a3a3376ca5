//! Which published models each class loads: the one table of their names.
//!
//! `architectures` of a config.json names a class of transformers, and `general.architecture` of a
//! GGUF file an architecture of llama.cpp; both lead to one of the 13 classes here.

use crate::error::{Error, Result};
use record::Class;

/// One kind of model as it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The class of transformers: what `architectures` in a config.json says.
    pub name: &'static str,
    /// The class that loads it.
    pub class: Class,
    /// What `general.architecture` says in a GGUF file of it, where such files are read.
    pub gguf: Option<&'static str>,
}

const fn of(class: Class, name: &'static str) -> Architecture {
    Architecture { name, class, gguf: None }
}

const fn or_gguf(class: Class, name: &'static str, gguf: &'static str) -> Architecture {
    Architecture { name, class, gguf: Some(gguf) }
}

/// Every architecture that a class loads.
pub const ARCHITECTURES: [Architecture; 23] = [
    of(Class::Bert, "BertModel"),
    of(Class::Bert, "BertForMaskedLM"),
    of(Class::Bert, "BertForPreTraining"),
    of(Class::T5, "T5ForConditionalGeneration"),
    or_gguf(Class::Llama, "LlamaForCausalLM", "llama"),
    of(Class::Llama, "MistralForCausalLM"),
    or_gguf(Class::Qwen2, "Qwen2ForCausalLM", "qwen2"),
    of(Class::Whisper, "WhisperForConditionalGeneration"),
    of(Class::Wav2vec2, "Wav2Vec2ForCTC"),
    of(Class::Clap, "ClapModel"),
    of(Class::Vit, "ViTModel"),
    of(Class::Vit, "ViTForImageClassification"),
    of(Class::Detr, "DetrModel"),
    of(Class::Detr, "DetrForObjectDetection"),
    of(Class::Clip, "CLIPModel"),
    of(Class::Clip, "CLIPTextModel"),
    of(Class::Clip, "CLIPTextModelWithProjection"),
    of(Class::Clip, "CLIPVisionModel"),
    of(Class::Clip, "CLIPVisionModelWithProjection"),
    of(Class::Clip, "CLIPForImageClassification"),
    of(Class::Llava, "LlavaForConditionalGeneration"),
    of(Class::LlavaNext, "LlavaNextForConditionalGeneration"),
    of(Class::Xclip, "XCLIPModel"),
];

/// The architecture of this name.
///
/// # Errors
/// When no class loads it; the error lists those that one does.
pub fn named(name: &str) -> Result<Architecture> {
    let known = || ARCHITECTURES.map(|known| known.name).join(", ");
    let found = ARCHITECTURES.into_iter().find(|known| known.name == name);
    found.ok_or_else(|| {
        let message = format!("{name} is none of those that can be loaded: {}", known());
        Error::config("architectures", message)
    })
}

/// The architecture that a GGUF file calls by this name.
///
/// # Errors
/// When no class loads it; the error lists those that one does.
pub fn of_gguf(name: &str) -> Result<Architecture> {
    let found = ARCHITECTURES.into_iter().find(|known| known.gguf == Some(name));
    found.ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().filter_map(|known| known.gguf).collect();
        Error::unsupported(format!(
            "GGUF files of architecture {name:?}, only of {}; convert to safetensors",
            known.join(" and ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_classes() {
        for (name, class) in [
            ("MistralForCausalLM", Class::Llama),
            ("LlavaNextForConditionalGeneration", Class::LlavaNext),
            ("CLIPVisionModelWithProjection", Class::Clip),
        ] {
            assert_eq!(named(name).unwrap().class, class, "{name}");
        }
        assert_eq!(of_gguf("qwen2").unwrap().name, "Qwen2ForCausalLM");
        for class in Class::ALL {
            assert!(ARCHITECTURES.iter().any(|known| known.class == *class), "{class}");
        }
    }

    #[test]
    fn a_name_that_no_class_loads_is_answered_with_those_that_one_does() {
        // No class loads it, though it begins as one is called.
        let error = named("T5EncoderModel").unwrap_err().to_string();
        assert!(error.contains("T5EncoderModel is none of those") && error.contains("BertModel"));
        let error = of_gguf("mamba").unwrap_err().to_string();
        assert!(error.contains("only of llama and qwen2"), "{error}");
    }
}
