//! How weights of few bits are stored, as options say it.

use crate::suggest;
use clap::Args;
use record::{Bits, Precision, Quantizer, Scheme};

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
}

fn group_size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().filter(|size| Precision::GROUPS.contains(size));
    size.ok_or_else(|| "weights share a scale in groups of 32, 64 or 128".to_owned())
}

impl Groups {
    /// The precision with so many bits.
    pub fn precision(&self, bits: Bits) -> Precision {
        let Groups { scheme, group_size, quantizer } = *self;
        Precision { scheme, group_size, quantizer, ..Precision::of(bits) }.canonical()
    }
}
