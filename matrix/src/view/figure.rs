//! Numbers as text.
//!
//! A column of figures states its unit in its head; only bytes carry their own, since they span five
//! orders of magnitude from one case to the next. Three significant digits are what a repeated
//! measurement can hold.

use serde::{Serialize, Serializer};
use std::fmt;

/// A number as text, or a dash with the reason why there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// The number, or `–`.
    pub text: String,
    /// Why there is no number; empty where there is one.
    pub why: &'static str,
    /// Whether it is what made the cell fail.
    pub is_over: bool,
}

impl Figure {
    /// The figure for `value`, or a dash and `why`.
    pub fn of(value: Option<f64>, why: &'static str, format: fn(f64) -> String) -> Figure {
        match value {
            Some(value) => Figure { text: format(value), ..Figure::default() },
            None => Figure { text: "–".to_owned(), why, is_over: false },
        }
    }

    /// An error that must not pass `bound`, where there is one.
    pub fn judged(value: Option<f64>, why: &'static str, bound: Option<f64>) -> Figure {
        // Written so that a value which is no number is over every bound.
        let is_within = |(value, bound)| value <= bound;
        let is_over = value.zip(bound).is_some_and(|both: (f64, f64)| !is_within(both));
        Figure { is_over, ..Figure::of(value, why, small) }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.why {
            "" if self.is_over => serializer.collect_str(&format_args!("{} (over)", self.text)),
            "" => serializer.serialize_str(&self.text),
            why => serializer.collect_str(&format_args!("{} ({why})", self.text)),
        }
    }
}

/// Three significant digits, without an exponent: times and rates.
pub fn plain(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    format!("{value:.*}", digits.clamp(0, 6) as usize)
}

/// Two significant digits, with an exponent below a thousandth: errors and divergences.
pub fn small(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-3 => format!("{value:.1e}"),
        _ => plain(value),
    }
}

/// A whole number.
pub fn count(value: f64) -> String {
    format!("{value:.0}")
}

/// A cosine. Its distance from 1 is what matters, so where five decimals would hide it, it is
/// written out.
pub fn cosine(value: f64) -> String {
    match 1.0 - value {
        hidden if hidden != 0.0 && hidden.abs() < 5e-6 => {
            format!("1 {} {:.1e}", if hidden > 0.0 { '−' } else { '+' }, hidden.abs())
        }
        _ => format!("{value:.5}"),
    }
}

/// A share of 1 as per cent, without its sign. A share short of all never rounds up to 100.
pub fn percent(value: f64) -> String {
    match value * 100.0 {
        100.0 => "100".to_owned(),
        nearly if (99.9..100.0).contains(&nearly) => "99.9".to_owned(),
        other => format!("{other:.1}"),
    }
}

/// Bits per weight.
pub fn bpw(value: f64) -> String {
    format!("{value:.2}")
}

/// A size in decimal units, which it states.
pub fn bytes(value: f64) -> String {
    let (scale, unit) = match value {
        v if v < 1e3 => return format!("{v} B"),
        v if v < 1e6 => (1e3, "kB"),
        v if v < 1e9 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{} {unit}", plain(value / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_no_more() {
        for (value, text) in [(0.0, "0"), (0.01234, "0.0123"), (12.345, "12.3"), (1234.5, "1234")] {
            assert_eq!(plain(value), text);
        }
        assert_eq!((small(3.14e-6), small(0.0213)), ("3.1e-6".to_owned(), "0.0213".to_owned()));
        assert_eq!((bytes(512.0), bytes(90.9e6)), ("512 B".to_owned(), "90.9 MB".to_owned()));
    }

    #[test]
    fn a_miss_is_never_rounded_away() {
        assert_eq!((percent(1.0), percent(0.99999)), ("100".to_owned(), "99.9".to_owned()));
        for (value, text) in [(1.0, "1.00000"), (0.9999998, "1 − 2.0e-7"), (0.99, "0.99000")] {
            assert_eq!(cosine(value), text);
        }
    }

    #[test]
    fn what_is_no_number_is_over_every_bound() {
        let over = |value, bound| Figure::judged(Some(value), "", bound).is_over;
        assert!(over(0.2, Some(0.1)) && over(f64::NAN, Some(0.1)));
        assert!(!over(0.1, Some(0.1)) && !over(0.2, None));
    }

    #[test]
    fn broken_numbers_show_as_such() {
        assert_eq!((plain(f64::NAN), small(f64::INFINITY)), ("NaN".to_owned(), "inf".to_owned()));
    }
}
