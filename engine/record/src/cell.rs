//! The unit of the matrix and the names on its axes.

use crate::{names::names, precision::Precision};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

names! {
    /// One of the 13 model classes.
    "class" Class {
        /// Encoder for text: embeddings and masked language modelling.
        Bert = "bert",
        /// Encoder-decoder for text.
        T5 = "t5",
        /// Decoder for text.
        Llama = "llama",
        /// Decoder for text with biased projections.
        Qwen2 = "qwen2",
        /// Speech to text.
        Whisper = "whisper",
        /// Speech to characters by CTC.
        Wav2vec2 = "wav2vec2",
        /// Audio and text in one embedding space.
        Clap = "clap",
        /// Image classification.
        Vit = "vit",
        /// Object detection.
        Detr = "detr",
        /// Image and text in one embedding space.
        Clip = "clip",
        /// Image and text to text.
        Llava = "llava",
        /// Image tiles and text to text.
        LlavaNext = "llava_next",
        /// Video and text in one embedding space.
        Xclip = "xclip",
    }
}

names! {
    /// Where the arithmetic runs.
    "backend" Backend {
        /// WebGPU in a page.
        Webgpu = "webgpu",
        /// WebAssembly SIMD in a page.
        Wasm = "wasm",
        /// The Web Neural Network API in a page.
        Webnn = "webnn",
        /// wgpu on the host, without a browser: for tools and as a reference.
        Native = "native",
    }
}

names! {
    /// Who hosts the page.
    "browser" Browser {
        /// Google Chrome or Chromium.
        Chrome = "chrome",
        /// Mozilla Firefox.
        Firefox = "firefox",
        /// Microsoft Edge.
        Edge = "edge",
        /// Apple Safari.
        Safari = "safari",
        /// WebKitGTK's MiniBrowser: Safari's engine, and not Safari.
        Webkitgtk = "webkitgtk",
        /// No browser: the `native` backend on the host.
        Host = "host",
    }
}

names! {
    /// What a cell can vary in beside its precision. What it does not name is as it is by default.
    "axis" Axis {
        /// The inference runtime, where it is not this engine.
        Runtime = "runtime",
        /// The label of a browser where a run has several of one family.
        Channel = "channel",
        /// The device type that WebNN is asked for.
        DeviceType = "device_type",
        /// How kernels are chosen.
        Tuning = "tuning",
        /// Threads of the WASM backend; as many as the page has, and eight at most, by default.
        Threads = "threads",
        /// Whether weights come from a cache, and from which.
        Cache = "cache",
        /// Where layers are kept and computed.
        Place = "place",
        /// Tokens of the prompt.
        PromptTokens = "prompt_tokens",
        /// Tokens to generate.
        NewTokens = "new_tokens",
        /// Sequences at once.
        Batch = "batch",
    }
}

impl Class {
    /// Whether its cells can vary in an axis. Prompts of other lengths are made of texts alone, and
    /// batches of what has a row for each prompt.
    pub fn varies_in(self, axis: Axis) -> bool {
        use Class::{Llama, Llava, LlavaNext, Qwen2, T5, Whisper};
        match axis {
            Axis::PromptTokens => matches!(self, Llama | Qwen2 | T5),
            Axis::Batch => matches!(self, Llama | Qwen2 | T5 | Whisper),
            Axis::NewTokens => matches!(self, Llama | Qwen2 | T5 | Whisper | Llava | LlavaNext),
            _ => true,
        }
    }

    /// Whether it writes texts, and so has a key-value cache.
    pub fn decodes(self) -> bool {
        self.varies_in(Axis::NewTokens)
    }
}

/// A value on each axis that a cell names.
pub type Axes = BTreeMap<Axis, String>;

/// The unit of the matrix: a case at a precision on a backend in a browser.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// Class of the model.
    pub class: Class,
    /// Name of the case: the name of its folder.
    pub case: String,
    /// How its numbers are stored.
    #[serde(flatten)]
    pub precision: Precision,
    /// Where the arithmetic runs.
    pub backend: Backend,
    /// Who hosts the page.
    pub browser: Browser,
    /// Whatever else it varies in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub axes: Axes,
}

impl Cell {
    /// Its value on an axis, where it names one.
    pub fn axis(&self, axis: Axis) -> Option<&str> {
        self.axes.get(&axis).map(String::as_str)
    }

    /// What it varies in beside case, precision and platform, the label of its browser being part of
    /// the platform.
    pub fn variations(&self) -> impl Iterator<Item = (Axis, &str)> {
        let axes = self.axes.iter().map(|(axis, value)| (*axis, value.as_str()));
        axes.filter(|(axis, _)| *axis != Axis::Channel)
    }

    /// What tells it apart from others of one precision on one platform: `smollm2-135m`,
    /// `smollm2-135m prompt_tokens=64 batch=4`.
    pub fn title(&self) -> String {
        let varied = self.variations().map(|(axis, value)| format!(" {axis}={value}"));
        format!("{}{}", self.case, varied.collect::<String>())
    }

    /// The browser, with its label where a run has several of one family: `chrome`, `chrome@beta`.
    pub fn browser_name(&self) -> String {
        match self.axis(Axis::Channel) {
            Some(label) => format!("{}@{label}", self.browser),
            None => self.browser.to_string(),
        }
    }
}

impl fmt::Display for Cell {
    /// `smollm2-135m 4-bit webgpu chrome`: what progress lines and messages call the cell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.case, self.precision, self.backend, self.browser)?;
        self.axes.iter().try_for_each(|(axis, value)| write!(f, " {axis}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for class in Class::ALL {
            assert_eq!(class.name().parse::<Class>().as_ref(), Ok(class));
        }
        let error = "gpt2".parse::<Class>().unwrap_err().to_string();
        assert!(error.starts_with("unknown class \"gpt2\"; known: bert t5 llama"), "{error}");
    }

    /// As records of schema 1 have it: what has come since is as it is by default.
    #[test]
    fn a_cell_of_the_first_schema_is_read() {
        let json = r#"{"class":"bert","case":"bert-tiny","bits":4,"scheme":"asymmetric",
            "group_size":64,"backend":"wasm","browser":"chrome"}"#;
        let cell: Cell = serde_json::from_str(json).unwrap();
        assert_eq!(cell.to_string(), "bert-tiny 4-bit asymmetric g64 wasm chrome");
        assert_eq!(
            serde_json::to_string(&cell).unwrap(),
            json.split_whitespace().collect::<String>()
        );
    }

    #[test]
    fn axes_are_part_of_the_cell() {
        let json = r#"{"class":"bert","case":"b","bits":16,"backend":"wasm","browser":"chrome"}"#;
        let plain: Cell = serde_json::from_str(json).unwrap();
        let mut threads = plain.clone();
        threads.axes.insert(Axis::Threads, "4".to_owned());
        assert_ne!(plain, threads);
        assert_eq!(threads.to_string(), "b 16-bit wasm chrome threads=4");
        assert_eq!((plain.title(), threads.title()), ("b".to_owned(), "b threads=4".to_owned()));
        let text = serde_json::to_string(&threads).unwrap();
        assert!(text.ends_with(r#""axes":{"threads":"4"}}"#), "{text}");
        assert_eq!(serde_json::from_str::<Cell>(&text).unwrap(), threads);
        assert!(serde_json::from_str::<Cell>(&text.replace("threads", "treads")).is_err());
    }

    #[test]
    fn the_label_of_a_browser_is_no_part_of_a_title() {
        let json = r#"{"class":"llama","case":"l","bits":4,"backend":"wasm","browser":"chrome",
            "axes":{"batch":"4","channel":"beta","prompt_tokens":"64"}}"#;
        let cell: Cell = serde_json::from_str(json).unwrap();
        assert_eq!(cell.title(), "l prompt_tokens=64 batch=4");
        assert_eq!(cell.browser_name(), "chrome@beta");
    }
}
