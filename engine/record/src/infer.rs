//! What a user asks of a model, and what the model says: `harness infer`.

use crate::{Adapter, Backend, CaseFile, Class, EngineInfo, Precision};
use serde::{Deserialize, Serialize};

/// Everything the engine needs to put one question to one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferRequest {
    /// How the model's numbers are stored.
    #[serde(flatten)]
    pub precision: Precision,
    /// Where the arithmetic runs.
    pub backend: Backend,
    /// Threads of what the CPU computes; as many as there are where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Where the files of the model are: an URL in a page, a folder on the host.
    pub model_url: String,
    /// The files that can be asked for below `model_url`.
    pub model_files: Vec<CaseFile>,
    /// Where the files of `question` are, in the same way.
    pub input_url: String,
    /// The files that can be asked for below `input_url`.
    pub input_files: Vec<CaseFile>,
    /// What is asked.
    pub question: Question,
    /// How texts are put to a model that has a chat template.
    pub chat: Chat,
    /// How texts are generated.
    pub generation: Generation,
}

/// What is given to a model. Files are named as in `InferRequest::input_files`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Question {
    /// Texts.
    pub texts: Vec<String>,
    /// Files of images; the frames of one video, in order, for a class that sees videos.
    pub images: Vec<String>,
    /// Files of recordings.
    pub audio: Vec<String>,
    /// Language of the recordings, where a model knows several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// How texts are put to a model that has a chat template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chat {
    /// Whether texts are continued as they are all the same.
    pub raw: bool,
    /// What the model is told before the user speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The time at which it is asked, in RFC 3339: some templates tell the model the date.
    pub now: String,
}

/// How texts are generated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Most new tokens.
    pub max_new_tokens: u32,
    /// 0 takes the most likely token; above it, tokens are drawn.
    pub temperature: f32,
    /// Draws from this many of the most likely.
    pub top_k: u32,
    /// Of those, from the fewest that hold this share of their mass.
    pub top_p: f32,
    /// Makes draws repeat.
    pub seed: u32,
}

/// What came of an [`InferRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inference {
    /// What the model is, once its configuration was read.
    pub class: Option<Class>,
    /// What it says; a class has one kind, or two.
    pub findings: Vec<Finding>,
    /// The file of the chat template by which the texts became prompts; absent where they were
    /// continued as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Why it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether that is for want of something in this browser or on this machine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unsupported: bool,
    /// Milliseconds until the weights were in place.
    pub load_ms: f64,
    /// Milliseconds from then to the answer, preparation of the inputs included.
    pub answer_ms: f64,
    /// New tokens a second after the first, where tokens were generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tps: Option<f64>,
    /// Bytes of the weights as they are stored.
    pub weights_bytes: u64,
    /// The adapter, where the backend has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// The engine.
    pub engine: EngineInfo,
}

/// One kind of thing that models say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// A text, one for each prompt or recording.
    Text {
        /// Without what the prompt said.
        text: String,
        /// Its tokens: the new ones of a generated text, those that are left of a transcribed one.
        ids: Vec<u32>,
        /// Why there is nothing to read in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        empty: Option<Empty>,
    },
    /// What an image shows, or what a masked word is: the likeliest first.
    Labels {
        /// Labels and their probabilities.
        labels: Vec<Label>,
    },
    /// Where things are in an image: the likeliest first.
    Boxes {
        /// Things and their places.
        boxes: Vec<Place>,
    },
    /// How well each text fits an image, a recording or a video, or another text.
    Similarities {
        /// `probability` where the texts compete for each row, `cosine` where they do not.
        scale: String,
        /// A row for each image, recording, video or text; a number in it for each text.
        rows: Vec<Vec<f32>>,
    },
    /// Points in the model's space.
    Embeddings {
        /// Hugging Face's name of the output.
        name: String,
        /// One for each input.
        rows: Vec<Vec<f32>>,
    },
}

/// Why a text has nothing to read in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// Its first token ends the text.
    EndOfText,
    /// The prompt takes all positions of the model.
    NoRoom,
    /// No new tokens were asked for.
    NoNewTokens,
    /// All its tokens are special ones or times, which have no text.
    SpecialTokens,
    /// There is nothing but white space in it.
    WhiteSpace,
    /// No letter was heard in the recording.
    NoLetters,
}

/// A label and its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// As the configuration names it, or a token.
    pub label: String,
    /// 0 to 1.
    pub score: f32,
}

/// Something that was found in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// As the configuration names it.
    pub label: String,
    /// 0 to 1.
    pub score: f32,
    /// Left, top, right and bottom in pixels of the image that was given.
    pub edges: [f32; 4],
}
