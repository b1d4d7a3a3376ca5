//! How adaptive precision mixes widths.

use crate::UnknownName;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Which matrices of a model have which width. Its text is `4+8`, or a hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Mix {
    /// By rule: those that a model is thought to depend on most have more bits.
    Rule {
        /// Bits of most matrices.
        bits: u8,
        /// Bits of embeddings, heads, attention, and the first and last block of each tower.
        critical: u8,
    },
    /// Each as a precision plan says, of which this is the hash.
    Plan(String),
}

impl Default for Mix {
    fn default() -> Mix {
        Mix::Rule { bits: 4, critical: 8 }
    }
}

impl Mix {
    /// The widths that can be mixed.
    pub const WIDTHS: [u8; 5] = [16, 8, 4, 3, 2];
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mix::Rule { bits, critical } => f.pad(&format!("{bits}+{critical}")),
            Mix::Plan(hash) => f.pad(hash),
        }
    }
}

impl FromStr for Mix {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Mix, UnknownName> {
        let width = |text: &str| text.parse().ok().filter(|width| Mix::WIDTHS.contains(width));
        if let Some((bits, critical)) = text.split_once('+')
            && let (Some(bits), Some(critical)) = (width(bits), width(critical))
        {
            return Ok(Mix::Rule { bits, critical });
        }
        match text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(Mix::Plan(text.to_owned())),
            false => Err(UnknownName {
                kind: "mix of widths",
                name: text.to_owned(),
                known: vec!["4+8", "3+8", "2+4", "the hash of a precision plan"],
            }),
        }
    }
}

impl From<Mix> for String {
    fn from(mix: Mix) -> String {
        mix.to_string()
    }
}

impl TryFrom<String> for Mix {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Mix, UnknownName> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_as_it_is_written() {
        let rule = Mix::Rule { bits: 3, critical: 16 };
        for (mix, text) in [(rule, "3+16"), (Mix::Plan("0123abcdef".to_owned()), "0123abcdef")] {
            assert_eq!(mix.to_string(), text);
            assert_eq!(text.parse(), Ok(mix.clone()));
            assert_eq!(serde_json::to_string(&mix).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Mix>(&format!("{text:?}")).unwrap(), mix);
        }
        for wrong in ["", "4", "4+5", "32+8", "4+8+2", "12345", "plan.json"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
