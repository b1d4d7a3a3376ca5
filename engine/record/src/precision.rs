//! How the numbers of a model are stored.

use crate::{
    limit::MemoryLimit,
    mix::Mix,
    names::{UnknownName, names},
    window::Window,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

names! {
    /// How group-quantised weights map integers to values.
    #[derive(Default)]
    "scheme" Scheme {
        /// A file whose weights are mostly blocks of the requested bits runs as it is stored, its
        /// other blocks included; all else is quantised symmetrically.
        #[default]
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

names! {
    /// How codes and scales are chosen.
    #[derive(Default)]
    "quantizer" Quantizer {
        /// Each weight takes the nearest level of its group, whose scale is that of least squared error
        /// among a few.
        #[default]
        Rtn = "rtn",
        /// Codes are chosen by what they do to a layer's outputs on a calibration text, one column of a
        /// matrix after another, each making up for the errors before it (Frantar et al. 2022).
        Gptq = "gptq",
    }
}

names! {
    /// How the key-value cache of a decoder is stored.
    #[derive(Default)]
    "key-value cache" KvFormat {
        /// One number a word.
        #[default]
        F32 = "32",
        /// Two.
        F16 = "16",
        /// Keys and values in eight bits, a scale to 32 numbers of a head.
        Q8 = "8",
        /// Keys in eight bits, values in four.
        K8V4 = "k8v4",
        /// Keys and values in four bits, turned by a Hadamard matrix before.
        Q4 = "4",
    }
}

/// How the numbers of a model are stored: its weights and, for a decoder, its key-value cache.
///
/// Its text names what is not the default, and is read back: `16-bit`, `4-bit asymmetric g64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Precision {
    /// Bits of the stored weights.
    pub bits: Bits,
    /// How integers map to values; without meaning at 32 and 16 bits.
    #[serde(default)]
    pub scheme: Scheme,
    /// Weights that share a scale: 32, 64 or 128 along K; without meaning at 32 and 16 bits.
    #[serde(default = "default_group")]
    pub group_size: u32,
    /// How codes are chosen; without meaning at 32 and 16 bits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quantizer: Quantizer,
    /// How widths are mixed, where they are; none is the default rule.
    #[serde(default, skip_serializing_if = "is_default")]
    pub plan: Option<Mix>,
    /// How the key-value cache is stored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kv: KvFormat,
    /// Which tokens it keeps; all where there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub window: Option<Window>,
    /// What weights and cache may take together; adaptive widths become smaller until they do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limit: Option<MemoryLimit>,
}

const fn default_group() -> u32 {
    Precision::GROUP
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Precision {
    /// The group that is taken where none is named.
    pub const GROUP: u32 = 32;
    /// The groups that weights can share a scale in.
    pub const GROUPS: [u32; 3] = [32, 64, 128];

    /// Weights of so many bits, all else as it is by default.
    pub fn of(bits: Bits) -> Precision {
        Precision {
            bits,
            scheme: Scheme::Auto,
            group_size: Precision::GROUP,
            quantizer: Quantizer::Rtn,
            plan: None,
            kv: KvFormat::F32,
            window: None,
            limit: None,
        }
    }

    /// The same without what has no meaning: whole floats have neither scheme nor groups nor a
    /// quantiser, one width is no mix, and one value keeps such cells comparable between runs.
    pub fn canonical(self) -> Precision {
        if !self.bits.is_grouped() {
            let Precision { bits, kv, window, limit, .. } = self;
            return Precision { kv, window, limit, ..Precision::of(bits) };
        }
        let is_told = |mix: &Mix| self.bits == Bits::Adaptive && *mix != Mix::default();
        Precision { plan: self.plan.filter(is_told), ..self }
    }

    /// How widths are mixed, if they are.
    pub fn mix(&self) -> Option<Mix> {
        (self.bits == Bits::Adaptive).then(|| self.plan.clone().unwrap_or_default())
    }

    /// Whether the key-value cache holds every number of every token as it is.
    pub fn has_whole_cache(&self) -> bool {
        self.kv == KvFormat::F32 && self.window.is_none()
    }

    /// What sets it apart from others of the same bits, with a space before each part.
    pub fn details(&self) -> String {
        let mut parts = Vec::new();
        if self.scheme != Scheme::default() {
            parts.push(self.scheme.to_string());
        }
        if self.group_size != Precision::GROUP {
            parts.push(format!("g{}", self.group_size));
        }
        if !is_default(&self.quantizer) {
            parts.push(self.quantizer.to_string());
        }
        if let Some(plan) = &self.plan {
            parts.push(format!("plan={plan}"));
        }
        if !is_default(&self.kv) {
            parts.push(format!("kv={}", self.kv));
        }
        if let Some(window) = self.window {
            parts.push(format!("window={window}"));
        }
        if let Some(limit) = self.limit {
            parts.push(format!("limit={limit}"));
        }
        parts.iter().map(|part| format!(" {part}")).collect()
    }

    /// Where it stands in a report: from wide to narrow, mixed widths last.
    pub fn order(&self) -> impl Ord + use<> {
        let narrowness = match self.bits {
            Bits::Fixed(width) => u8::MAX - 1 - width.min(u8::MAX - 1),
            Bits::Adaptive => u8::MAX,
        };
        (narrowness, self.clone())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.bits == Bits::Adaptive { "" } else { "-bit" };
        f.pad(&format!("{}{unit}{}", self.bits, self.details()))
    }
}

impl FromStr for Precision {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Precision, UnknownName> {
        let mut words = text.split_whitespace();
        let bits = words.next().unwrap_or_default();
        let mut precision = Precision::of(bits.strip_suffix("-bit").unwrap_or(bits).parse()?);
        for word in words {
            if let Ok(scheme) = word.parse() {
                precision.scheme = scheme;
            } else if let Some(group) = word.strip_prefix('g').and_then(|g| g.parse().ok())
                && Precision::GROUPS.contains(&group)
            {
                precision.group_size = group;
            } else if let Ok(quantizer) = word.parse() {
                precision.quantizer = quantizer;
            } else if let Some(plan) = word.strip_prefix("plan=") {
                precision.plan = Some(plan.parse()?);
            } else if let Some(kv) = word.strip_prefix("kv=") {
                precision.kv = kv.parse()?;
            } else if let Some(window) = word.strip_prefix("window=") {
                precision.window = Some(window.parse()?);
            } else if let Some(limit) = word.strip_prefix("limit=") {
                precision.limit = Some(limit.parse()?);
            } else {
                return Err(UnknownName {
                    kind: "part of a precision",
                    name: word.to_owned(),
                    known: vec![
                        "auto",
                        "symmetric",
                        "asymmetric",
                        "g32",
                        "g64",
                        "g128",
                        "rtn",
                        "gptq",
                    ],
                });
            }
        }
        Ok(precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_numbers_or_adaptive() {
        for (bits, json) in [(Bits::Fixed(3), "3"), (Bits::Adaptive, "\"adaptive\"")] {
            assert_eq!(serde_json::to_string(&bits).unwrap(), json);
            assert_eq!(serde_json::from_str::<Bits>(json).unwrap(), bits);
        }
        assert!(serde_json::from_str::<Bits>("5").is_err());
    }

    #[test]
    fn a_text_names_what_is_not_the_default_and_is_read_back() {
        let wide = Precision::of(Bits::Fixed(16));
        let grouped = Precision {
            scheme: Scheme::Asymmetric,
            group_size: 64,
            plan: Some(Mix::Plan("1a2b3c4d".to_owned())),
            ..Precision::of(Bits::Fixed(4))
        };
        let rule = Mix::Rule { bits: 3, critical: 8 };
        let ruled = Precision { plan: Some(rule), ..Precision::of(Bits::Adaptive) };
        let calibrated = Precision { quantizer: Quantizer::Gptq, ..Precision::of(Bits::Fixed(3)) };
        for (precision, text) in [
            (wide, "16-bit"),
            (calibrated, "3-bit gptq"),
            (Precision::of(Bits::Adaptive), "adaptive"),
            (ruled, "adaptive plan=3+8"),
            (Precision { kv: KvFormat::K8V4, ..Precision::of(Bits::Fixed(16)) }, "16-bit kv=k8v4"),
            (
                Precision {
                    kv: KvFormat::Q8,
                    window: Some(Window { latest: 512, sinks: 4 }),
                    ..Precision::of(Bits::Fixed(4))
                },
                "4-bit kv=8 window=512+4",
            ),
            (grouped, "4-bit asymmetric g64 plan=1a2b3c4d"),
            (
                Precision {
                    limit: Some(MemoryLimit { bytes: 2_500_000 }),
                    ..Precision::of(Bits::Adaptive)
                },
                "adaptive limit=2.5MB",
            ),
        ] {
            assert_eq!(precision.to_string(), text);
            assert_eq!(text.parse(), Ok(precision));
        }
        assert_eq!("4".parse(), Ok(Precision::of(Bits::Fixed(4))));
        for wrong in ["", "5", "4 g48", "4 kv=5", "4 best"] {
            assert!(wrong.parse::<Precision>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn whole_floats_have_no_groups() {
        let given = "16-bit asymmetric g128".parse::<Precision>().unwrap();
        assert_eq!(given.canonical(), Precision::of(Bits::Fixed(16)));
        let windowed = "16-bit kv=8 window=64+4".parse::<Precision>().unwrap();
        assert_eq!(windowed.clone().canonical(), windowed);
        let grouped = "4-bit asymmetric g128".parse::<Precision>().unwrap();
        assert_eq!(grouped.clone().canonical(), grouped);
    }

    #[test]
    fn only_adaptive_weights_are_mixed() {
        let of = |text: &str| text.parse::<Precision>().unwrap();
        assert_eq!(of("4 plan=3+8").canonical(), of("4"));
        assert_eq!(of("adaptive plan=4+8").canonical(), of("adaptive"));
        assert_eq!(of("adaptive plan=3+8").canonical(), of("adaptive plan=3+8"));
        assert_eq!((of("4").mix(), of("adaptive").mix()), (None, Some(Mix::default())));
    }
}
