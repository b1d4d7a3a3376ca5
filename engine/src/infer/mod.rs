//! Answers a question to a model: what a person has goes in, what a person can read comes out.
//!
//! The model is any folder as it is published: `architectures` says the class, the processor makes
//! the inputs. What comes out depends on the kind of output and not on the class: `text.rs` generates
//! texts and tells of them as they grow, `read.rs` makes labels, boxes, similarities and embeddings of
//! the outputs of one pass.

mod read;
mod text;

use crate::{
    case::json,
    device::Device,
    error::{Error, Result},
    generation_config::GenerationConfig,
    models::{Config, Inputs, Model},
    preprocess::{Audio, Given, Image, Processor, Tokenizer},
    probe,
    run::{self, Host},
    weights::{Checkpoint, Source},
};
use record::{Class, Event, Finding, InferRequest, Inference, Question};
use std::collections::BTreeMap;
use text::Writer;

/// Largest input file: an hour of sound, or any photograph.
const MAX_INPUT_BYTES: u64 = 512 << 20;

/// Named outputs on the host.
type Values = BTreeMap<&'static str, (Vec<usize>, Vec<f32>)>;

/// Answers; whatever goes wrong is in the answer.
pub(crate) async fn answer(request: &InferRequest, host: &dyn Host) -> Inference {
    let mut said = Inference { engine: probe::engine_info(None), ..Inference::default() };
    if let Err(error) = infer(request, host, &mut said).await {
        said.unsupported = matches!(error, Error::Unsupported { .. });
        said.error = Some(error.to_string());
    }
    said
}

async fn infer(request: &InferRequest, host: &dyn Host, said: &mut Inference) -> Result<()> {
    let start = host.now();
    let stage = |name: &str| host.emit(Event::Stage { stage: name.to_owned() });
    stage("load");
    let device = run::open(request.backend, host).await?;
    said.engine = probe::engine_info(Some(&device));
    if let Device::Gpu(gpu) = &device {
        gpu.forget();
        said.adapter = Some(gpu.description().clone());
    }
    let source = host.source(&request.model_url, &request.model_files);
    let source = source.as_ref();
    let files: Vec<String> = request.model_files.iter().map(|file| file.name.clone()).collect();
    let checkpoint = Checkpoint::open(source, &files).await?;
    let config = match (source.size("config.json"), &checkpoint.config) {
        (None, Some(config)) => config.clone(),
        _ => json(source, "config.json").await?,
    };
    let config = Config::new(config)?;
    let class = class_of(config.architecture()?)?;
    said.class = Some(class);

    // What is wrong with the question is said before the weights are loaded.
    let processor = processor(class, &config, &checkpoint, source, &request.question).await?;
    let inputs_from = host.source(&request.input_url, &request.input_files);
    let given = given(class, &request.question, inputs_from.as_ref()).await?;
    let inputs = processor.inputs(&given)?;

    let precision = &request.precision;
    let (model, account) =
        run::load_model(class, &config, &checkpoint, source, &device, precision, host).await?;
    said.weights_bytes = account.memory().weights_bytes;
    said.load_ms = host.now() - start;
    let start = host.now();
    stage("answer");
    said.findings = match model.decoder() {
        Some(decoder) => {
            let defaults = GenerationConfig::read(source, &config).await?;
            let writer = Writer { device: &device, decoder, processor: &processor, request, host };
            writer.texts(&inputs, &defaults, said).await?
        }
        None => {
            let values = outputs(&device, model.as_ref(), &inputs).await?;
            let findings = read::findings(&values, &config, &processor, &inputs, &given)?;
            for (row, finding) in findings.iter().enumerate() {
                if let Finding::Text { text, .. } = finding {
                    host.emit(Event::Text { row, text: text.clone() });
                }
            }
            findings
        }
    };
    said.answer_ms = host.now() - start;
    Ok(())
}

/// The class of an architecture: the one whose name, without its underscore, it begins with.
fn class_of(architecture: &str) -> Result<Class> {
    let name = architecture.to_lowercase();
    let begins = |class: &&Class| name.starts_with(&class.name().replace('_', ""));
    // LLaVA-NeXT begins like LLaVA, so the longest name counts.
    let class = Class::ALL.iter().filter(begins).max_by_key(|class| class.name().len());
    class.copied().ok_or_else(|| {
        let known: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        let message = format!("{architecture} is of none of the classes {}", known.join(" "));
        Error::config("architectures", message)
    })
}

async fn processor(
    class: Class,
    config: &Config,
    checkpoint: &Checkpoint,
    source: &dyn Source,
    question: &Question,
) -> Result<Processor> {
    let mut processor = Processor::open(class, config, source).await?;
    if let (None, Some(metadata)) = (processor.tokenizer(), &checkpoint.metadata) {
        processor = processor.with_tokenizer(Tokenizer::from_gguf(metadata)?)?;
    }
    match &question.language {
        Some(language) => processor.with_language(language),
        None => Ok(processor),
    }
}

/// Reads and decodes the files of a question.
async fn given(class: Class, question: &Question, source: &dyn Source) -> Result<Given> {
    let mut given = Given { texts: question.texts.clone(), ..Given::default() };
    let read = async |file: &String| match source.size(file) {
        Some(size) if size <= MAX_INPUT_BYTES => source.read(file, 0..size).await,
        Some(size) => Err(Error::malformed(file, format!("{size} bytes are too many"))),
        None => Err(Error::Read { file: file.clone(), message: "is not there".to_owned() }),
    };
    for file in &question.images {
        let image = Image::decode(&read(file).await?)?;
        match class {
            Class::Xclip => given.frames.push(image),
            _ => given.images.push(image),
        }
    }
    for file in &question.audio {
        given.audio.push(Audio::decode(&read(file).await?)?);
    }
    Ok(given)
}

async fn outputs(device: &Device, model: &dyn Model, inputs: &Inputs) -> Result<Values> {
    let outputs = model.forward(device, inputs)?;
    let tensors: Vec<_> = outputs.iter().map(|(_, tensor)| tensor).collect();
    let values = device.read(&tensors).await?;
    let named = outputs.iter().zip(values);
    Ok(named.map(|((name, tensor), values)| (*name, (tensor.shape().to_vec(), values))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_name_their_class() {
        for (architecture, class) in [
            ("LlavaNextForConditionalGeneration", Class::LlavaNext),
            ("LlavaForConditionalGeneration", Class::Llava),
            ("LlamaForCausalLM", Class::Llama),
            ("CLIPVisionModelWithProjection", Class::Clip),
            ("XCLIPModel", Class::Xclip),
            ("T5EncoderModel", Class::T5),
            ("Wav2Vec2ForCTC", Class::Wav2vec2),
        ] {
            assert_eq!(class_of(architecture), Ok(class), "{architecture}");
        }
        let error = class_of("GPT2LMHeadModel").unwrap_err().to_string();
        assert!(error.contains("GPT2LMHeadModel is of none of the classes bert"), "{error}");
    }
}
