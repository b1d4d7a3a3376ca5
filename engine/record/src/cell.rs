//! The unit of the matrix and the names on its axes.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// A name that is on none of the lists, with the list it should have come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// What kind of name was expected: "class", "backend", …
    pub kind: &'static str,
    /// What was given.
    pub name: String,
    /// What would have been accepted.
    pub known: Vec<&'static str>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} {:?}; known: {}", self.kind, self.name, self.known.join(" "))
    }
}

impl std::error::Error for UnknownName {}

/// Defines an enum whose variants have one name each, used by serde, `Display` and `FromStr` alike.
macro_rules! names {
    ($(#[$doc:meta])* $kind:literal $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in the order in which reports list them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name used in files, on the command line and in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.name()) }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|value| value.name() == text).ok_or_else(|| UnknownName {
                    kind: $kind,
                    name: text.to_owned(),
                    known: Self::ALL.iter().map(|value| value.name()).collect(),
                })
            }
        }
    };
}

pub(crate) use names;

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
    /// How group-quantised weights map integers to values.
    "scheme" Scheme {
        /// A file whose weights are mostly blocks of the requested bits runs as it is stored, its
        /// other blocks included; all else is quantised symmetrically.
        Auto = "auto",
        /// `w = d · (q − b)`, one f16 scale a group.
        Symmetric = "symmetric",
        /// `w = d · q + m`, one f16 scale and one f16 minimum a group.
        Asymmetric = "asymmetric",
    }
}

/// Bits of a stored weight. 32 is the reference; `adaptive` mixes widths by a precision plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bits {
    /// A fixed width: 32, 16, 8, 4, 3 or 2.
    Fixed(u8),
    /// Mixed widths.
    Adaptive,
}

impl Bits {
    /// The widths that can be asked for, in the order in which reports list them.
    pub const WIDTHS: [u8; 6] = [32, 16, 8, 4, 3, 2];

    /// Whether weights are stored as small integers in groups.
    pub fn is_grouped(self) -> bool {
        !matches!(self, Bits::Fixed(32 | 16))
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bits::Fixed(width) => f.pad(&width.to_string()),
            Bits::Adaptive => f.pad("adaptive"),
        }
    }
}

impl FromStr for Bits {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        if text == "adaptive" {
            return Ok(Bits::Adaptive);
        }
        match text.parse() {
            Ok(width) if Bits::WIDTHS.contains(&width) => Ok(Bits::Fixed(width)),
            _ => Err(UnknownName {
                kind: "bit-width",
                name: text.to_owned(),
                known: vec!["32", "16", "8", "4", "3", "2", "adaptive"],
            }),
        }
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Bits::Fixed(width) => serializer.serialize_u8(*width),
            Bits::Adaptive => serializer.serialize_str("adaptive"),
        }
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bits;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32, 16, 8, 4, 3, 2 or \"adaptive\"")
            }
            fn visit_u64<E: de::Error>(self, width: u64) -> Result<Bits, E> {
                width.to_string().parse().map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bits, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The unit of the matrix: a case at a precision on a backend in a browser.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// Class of the model.
    pub class: Class,
    /// Name of the case: the name of its folder.
    pub case: String,
    /// Bits of the stored weights.
    pub bits: Bits,
    /// How integers map to values; without meaning at 32 and 16 bits.
    pub scheme: Scheme,
    /// Weights that share a scale: 32, 64 or 128 along K; without meaning at 32 and 16 bits.
    pub group_size: u32,
    /// Where the arithmetic runs.
    pub backend: Backend,
    /// Who hosts the page.
    pub browser: Browser,
}

impl fmt::Display for Cell {
    /// `smollm2-135m 4-bit webgpu chrome`: what progress lines and messages call the cell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}-bit {} {}", self.case, self.bits, self.backend, self.browser)
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

    #[test]
    fn bits_are_numbers_or_adaptive() {
        for (bits, json) in [(Bits::Fixed(3), "3"), (Bits::Adaptive, "\"adaptive\"")] {
            assert_eq!(serde_json::to_string(&bits).unwrap(), json);
            assert_eq!(serde_json::from_str::<Bits>(json).unwrap(), bits);
        }
        assert!(serde_json::from_str::<Bits>("5").is_err());
    }
}
