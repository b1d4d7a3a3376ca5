//! How weights of few bits are stored, as options say it.

use crate::suggest;
use clap::Args;
use record::{Bits, KvFormat, MemoryLimit, Mix, Precision, Quantizer, Scheme, Window};

/// How weights of few bits are stored, beside their bits.
#[derive(Clone, Debug, Args)]
pub struct Groups {
    /// How grouped weights map to values: auto, symmetric or asymmetric.
    #[arg(long, default_value = "auto")]
    pub scheme: Scheme,

    /// Weights that share a scale: 32, 64 or 128.
    #[arg(long, default_value = "32", value_parser = group_size)]
    pub group_size: u32,

    /// How codes are chosen: rtn, which rounds to nearest as weights are loaded, or gptq, for models that
    /// `quantize` has packed.
    #[arg(long, default_value = "rtn", value_parser = suggest::name::<Quantizer>)]
    pub quantizer: Quantizer,

    /// Bits of most matrices where `--bits` is adaptive: 16, 8, 4, 3 or 2.
    #[arg(long, value_name = "BITS", default_value = "4", value_parser = width)]
    pub base_bits: u8,

    /// Bits of embeddings, heads, attention, and the first and last block where `--bits` is adaptive: 16, 8,
    /// 4, 3 or 2. Weights that `quantize` has mixed are taken as they are.
    #[arg(long, value_name = "BITS", default_value = "8", value_parser = width)]
    pub critical_bits: u8,
}

/// How a decoder's key-value cache is stored.
#[derive(Clone, Debug, Args)]
pub struct Cache {
    /// Bits of the key-value cache of decoders: 32, 16, 8, k8v4 (keys in 8, values in 4) or 4.
    #[arg(long, value_name = "BITS", default_value = "32", value_parser = suggest::name::<KvFormat>)]
    pub kv_bits: KvFormat,

    /// Latest tokens that it keeps, beside the first ones; or off, which keeps all.
    #[arg(long, value_name = "TOKENS", default_value = "off", value_parser = latest)]
    pub window: Latest,

    /// First tokens that it keeps where there is a window.
    #[arg(long, value_name = "TOKENS", default_value_t = Window::SINKS)]
    pub sinks: u32,
}

impl Cache {
    /// The precision with this cache.
    pub fn with(&self, precision: Precision) -> Precision {
        Precision { kv: self.kv_bits, window: self.window.beside(self.sinks), ..precision }
    }
}

/// The same, several side by side.
#[derive(Clone, Debug, Args)]
pub struct Caches {
    /// Bits of the key-value cache of decoders: 32, 16, 8, k8v4 (keys in 8, values in 4) or 4.
    #[arg(long, value_name = "BITS", num_args = 1.., value_delimiter = ',', default_value = "32")]
    #[arg(value_parser = suggest::name::<KvFormat>)]
    pub kv_bits: Vec<KvFormat>,

    /// Latest tokens that it keeps, beside the first ones: a text may be longer; or off, which keeps all.
    #[arg(long, value_name = "TOKENS", num_args = 1.., value_delimiter = ',', default_value = "off")]
    #[arg(value_parser = latest)]
    pub window: Vec<Latest>,

    /// First tokens that it keeps where there is a window.
    #[arg(long, value_name = "TOKENS", default_value_t = Window::SINKS)]
    pub sinks: u32,
}

/// Latest tokens that a cache keeps, if it does not keep all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest(Option<u32>);

impl Latest {
    /// The same with so many of the first.
    fn beside(self, sinks: u32) -> Option<Window> {
        self.0.map(|latest| Window { latest, sinks })
    }
}

fn latest(text: &str) -> Result<Latest, String> {
    match (text, text.parse()) {
        ("off", _) => Ok(Latest(None)),
        (_, Ok(tokens @ 1..)) => Ok(Latest(Some(tokens))),
        _ => Err("a number of tokens, or off".to_owned()),
    }
}

impl Caches {
    /// Each precision with each of the caches.
    pub fn with(&self, precisions: &[Precision]) -> Vec<Precision> {
        let with = |precision: &Precision| {
            let precision = precision.clone();
            let windows = self.window.iter().map(|latest| latest.beside(self.sinks));
            windows.flat_map(move |window| {
                let precision = precision.clone();
                self.kv_bits.iter().map(move |kv| Precision {
                    kv: *kv,
                    window,
                    ..precision.clone()
                })
            })
        };
        precisions.iter().flat_map(with).collect()
    }
}

/// How much memory a model may take, several limits side by side.
#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// Megabytes (10⁶ bytes) that weights and key-value cache may take together, or off: adaptive bits become fewer
    /// until they fit, other bits are refused where they do not.
    #[arg(long, value_name = "MB", num_args = 1.., value_delimiter = ',', default_value = "off")]
    #[arg(value_parser = limit)]
    pub memory_limit: Vec<Limit>,
}

/// A limit on memory, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<MemoryLimit>);

impl Limits {
    /// Each precision within each of the limits.
    pub fn with(&self, precisions: &[Precision]) -> Vec<Precision> {
        let with = |precision: &Precision| {
            let precision = precision.clone();
            self.memory_limit
                .iter()
                .map(move |Limit(limit)| Precision { limit: *limit, ..precision.clone() })
        };
        precisions.iter().flat_map(with).collect()
    }
}

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "off" => Ok(Limit(None)),
        _ => Ok(Limit(Some(megabytes(text)?))),
    }
}

/// Megabytes as options name them.
pub(crate) fn megabytes(text: &str) -> Result<MemoryLimit, String> {
    text.parse().map_err(|_| "megabytes of a million bytes, such as 80 or 0.5".to_owned())
}

fn group_size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().filter(|size| Precision::GROUPS.contains(size));
    size.ok_or_else(|| "weights share a scale in groups of 32, 64 or 128".to_owned())
}

/// A width that can be mixed with others.
pub(crate) fn width(text: &str) -> Result<u8, String> {
    let bits = text.parse().ok().filter(|bits| Mix::WIDTHS.contains(bits));
    bits.ok_or_else(|| "widths that can be mixed are 16, 8, 4, 3 and 2".to_owned())
}

impl Groups {
    /// The precision with so many bits.
    pub fn precision(&self, bits: Bits) -> Precision {
        let Groups { scheme, group_size, quantizer, base_bits, critical_bits } = *self;
        let plan = Some(Mix::Rule { bits: base_bits, critical: critical_bits });
        Precision { scheme, group_size, quantizer, plan, ..Precision::of(bits) }.canonical()
    }
}
