//! Ranges of browser versions, which have up to four parts and follow no semantic versioning.

use serde::{Deserialize, Deserializer, de};
use std::{cmp::Ordering, str::FromStr};

/// Comparisons that must all hold, such as `>=150, <160`; a version alone means it and its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range(Vec<(Operator, Vec<u64>)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Least,
    Above,
    Most,
    Below,
    Is,
}

impl Range {
    /// Whether a version is within. As many parts are compared as the range writes, so that 160.1 is
    /// not below 160; a version that is not told is within no range.
    pub fn has(&self, version: &str) -> bool {
        let Some(version) = parts(version) else { return false };
        self.0.iter().all(|(operator, bound)| {
            let compared: Vec<u64> =
                version.iter().copied().chain([0; 4]).take(bound.len()).collect();
            let order = compared.cmp(bound);
            match operator {
                Operator::Least => order != Ordering::Less,
                Operator::Above => order == Ordering::Greater,
                Operator::Most => order != Ordering::Greater,
                Operator::Below => order == Ordering::Less,
                Operator::Is => order == Ordering::Equal,
            }
        })
    }
}

/// `156.0.1b2` is 156, 0, 1: what follows the digits of a part is not compared.
fn parts(version: &str) -> Option<Vec<u64>> {
    let number = |part: &str| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    };
    let parts: Vec<u64> = version.trim().split('.').map_while(number).collect();
    (!parts.is_empty()).then_some(parts)
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let comparison = |text: &str| {
            let operators = [
                (">=", Operator::Least),
                (">", Operator::Above),
                ("<=", Operator::Most),
                ("<", Operator::Below),
                ("=", Operator::Is),
                ("", Operator::Is),
            ];
            let (version, operator) = operators
                .into_iter()
                .find_map(|(sign, operator)| Some((text.strip_prefix(sign)?.trim(), operator)))?;
            let numbers =
                version.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
            Some((operator, numbers))
        };
        let comparisons = text.split(',').map(|part| comparison(part.trim())).collect();
        Option::map(comparisons, Range)
            .ok_or_else(|| format!("{text:?} is no range of versions; write >=150, <160 or 153"))
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Range, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_parts_are_compared_as_are_written() {
        for (range, version, is_within) in [
            (">=150, <160", "153.0", true),
            (">=150, <160", "160.0.7100.3", false),
            (">150", "150.9", false),
            (">150", "151", true),
            ("<=153.1", "153.1.9", true),
            ("153", "153.4esr", true),
            ("=153.0", "153", true),
            ("153", "154.0", false),
            ("153", "", false),
            ("153", "unknown", false),
        ] {
            let range: Range = range.parse().unwrap();
            assert_eq!(range.has(version), is_within, "{range:?} {version}");
        }
        for bad in ["", "esr", ">=", "150..1", "150 160"] {
            assert!(bad.parse::<Range>().unwrap_err().contains("is no range"), "{bad}");
        }
    }
}
