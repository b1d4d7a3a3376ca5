//! Answers a question to a model: what a person has goes in, what a person can read comes out.
//!
//! The model is any folder as it is published: `architectures` says the class, the processor makes
//! the inputs. What comes out depends on the kind of output and not on the class: `text.rs` generates
//! texts and tells of them as they grow, `read.rs` makes labels, boxes, similarities and embeddings of
//! the outputs of one pass.

mod read;
mod text;

pub(crate) use read::transcript;

use crate::{
    device::Device,
    embedder::Embedder,
    error::{Error, Result},
    load::Loaded,
    models::{Decoder, Inputs, Model},
    open,
    preprocess::{ChatTemplate, Given, Processor},
    probe,
    published::Published,
    weights::Source,
};
use record::{Chat, Event, Finding, InferRequest, Inference, Question};
use std::collections::BTreeMap;
use text::Writer;

/// Named outputs on the embedder.
pub(crate) type Values = BTreeMap<&'static str, (Vec<usize>, Vec<f32>)>;

/// Answers; whatever goes wrong is in the answer.
pub(crate) async fn answer(request: &InferRequest, embedder: &dyn Embedder) -> Inference {
    let mut said = Inference { engine: probe::engine_info(None), ..Inference::default() };
    if let Err(error) = infer(request, embedder, &mut said).await {
        said.unsupported = matches!(error, Error::Unsupported { .. });
        said.error = Some(error.to_string());
    }
    said
}

async fn infer(
    request: &InferRequest,
    embedder: &dyn Embedder,
    said: &mut Inference,
) -> Result<()> {
    let start = embedder.now();
    let stage = |name: &str| embedder.emit(Event::Stage { stage: name.to_owned() });
    stage("load");
    let device = open::device(request.backend, request.threads, embedder).await?;
    said.engine = probe::engine_info(Some(&device));
    if let Device::Gpu(gpu) = &device {
        said.adapter = Some(gpu.description().clone());
    }
    let source = embedder.source(&request.model_url, &request.model_files);
    let source = source.as_ref();
    let files: Vec<String> = request.model_files.iter().map(|file| file.name.clone()).collect();
    let published = Published::open(source, &files).await?;
    let class = published.class;
    said.class = Some(class);
    let precision = &request.precision;
    open::check_plan(&published, precision, embedder)?;

    // What is wrong with the question is said before the weights are loaded.
    let processor = processor(&published, source, &request.question).await?;
    let inputs_from = embedder.source(&request.input_url, &request.input_files);
    let mut given = Given::read(class, &request.question, inputs_from.as_ref()).await?;
    said.chat_template = put(&request.chat, &published, source, &processor, &mut given).await?;
    let inputs = processor.inputs(&given)?;

    let cache = |decoder: &dyn Decoder| {
        let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
        let tokens = ids.tokens + request.generation.max_new_tokens as usize;
        Ok(decoder.cache_bytes(1, tokens.min(decoder.positions())))
    };
    let declared = open::declare(&published, source, precision, cache, embedder).await?;
    let loaded = open::load(declared, source, &device, embedder).await?;
    let Loaded { model, plan, .. } = loaded;
    said.weights_bytes = plan.memory().weights_bytes;
    said.load_ms = embedder.now() - start;
    let start = embedder.now();
    stage("answer");
    said.findings = match model.decoder() {
        Some(decoder) => {
            let writer =
                Writer { device: &device, decoder, processor: &processor, request, embedder };
            writer.texts(&inputs, &published.generation, said).await?
        }
        None => {
            let values = outputs(&device, model.as_ref(), &inputs).await?;
            let findings = read::findings(&values, &published.config, &processor, &inputs, &given)?;
            for (row, finding) in findings.iter().enumerate() {
                if let Finding::Text { text, .. } = finding {
                    embedder.emit(Event::Text { row, text: text.clone() });
                }
            }
            findings
        }
    };
    said.answer_ms = embedder.now() - start;
    Ok(())
}

/// Makes prompts of the texts, if the model has a chat template and it is wanted; says which file
/// the template is from.
async fn put(
    chat: &Chat,
    published: &Published,
    source: &dyn Source,
    processor: &Processor,
    given: &mut Given,
) -> Result<Option<String>> {
    let template = match chat.raw {
        true => None,
        false => ChatTemplate::find(published, source).await?,
    };
    match (template, &chat.system) {
        (Some(template), _) => {
            template.apply(chat, processor, given)?;
            Ok(Some(template.file))
        }
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let message = "is for a chat, and no chat template is used; write it into the text";
            Err(Error::input("system text", message))
        }
    }
}

async fn processor(
    published: &Published,
    source: &dyn Source,
    question: &Question,
) -> Result<Processor> {
    let processor = Processor::of(published, source).await?;
    match &question.language {
        Some(language) => processor.with_language(language),
        None => Ok(processor),
    }
}

/// The outputs of one pass.
pub(crate) async fn outputs(device: &Device, model: &dyn Model, inputs: &Inputs) -> Result<Values> {
    let outputs = model.forward(device, inputs)?;
    let tensors: Vec<_> = outputs.iter().map(|(_, tensor)| tensor).collect();
    let values = device.read(&tensors).await?;
    let named = outputs.iter().zip(values);
    Ok(named.map(|((name, tensor), values)| (*name, (tensor.shape().to_vec(), values))).collect())
}
