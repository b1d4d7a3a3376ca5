//! How much memory a model may take.

use crate::UnknownName;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Bytes that weights and key-value cache may take together. Its text is in megabytes of 10⁶ bytes: `80MB`, `0.5MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MemoryLimit {
    /// In bytes.
    pub bytes: u64,
}

const MEGABYTE: u64 = 1_000_000;

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.bytes / MEGABYTE, self.bytes % MEGABYTE);
        match rest {
            0 => f.pad(&format!("{whole}MB")),
            _ => {
                let digits = format!("{rest:06}");
                f.pad(&format!("{whole}.{}MB", digits.trim_end_matches('0')))
            }
        }
    }
}

impl FromStr for MemoryLimit {
    type Err = UnknownName;

    /// Megabytes, with the unit or without.
    fn from_str(text: &str) -> Result<MemoryLimit, UnknownName> {
        let number = text.strip_suffix("MB").unwrap_or(text);
        let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let bytes = || {
            let well_formed = is_number(whole) && is_number(rest) && rest.len() <= 6;
            let whole: u64 = whole.parse().ok().filter(|_| well_formed)?;
            let rest: u64 = format!("{rest:0<6}").parse().ok()?;
            whole.checked_mul(MEGABYTE)?.checked_add(rest).filter(|bytes| *bytes > 0)
        };
        let bytes = bytes().ok_or_else(|| UnknownName {
            kind: "memory limit",
            name: text.to_owned(),
            known: vec!["megabytes of a million bytes, such as 80 or 0.5"],
        })?;
        Ok(MemoryLimit { bytes })
    }
}

impl From<MemoryLimit> for String {
    fn from(limit: MemoryLimit) -> String {
        limit.to_string()
    }
}

impl TryFrom<String> for MemoryLimit {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<MemoryLimit, UnknownName> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_it_is_written() {
        for (bytes, text) in [
            (80_000_000, "80MB"),
            (500_000, "0.5MB"),
            (1, "0.000001MB"),
            (3_200_000_010, "3200.00001MB"),
        ] {
            let limit = MemoryLimit { bytes };
            assert_eq!(limit.to_string(), text);
            assert_eq!(text.parse(), Ok(limit));
            assert_eq!(text.trim_end_matches("MB").parse(), Ok(limit));
        }
        for wrong in ["", "MB", "0", "-1", "1e3", "80GB", "1.0000001", "99999999999999999999", ".5"]
        {
            assert!(wrong.parse::<MemoryLimit>().is_err(), "{wrong}");
        }
    }
}
