//! Which tokens of a text a key-value cache keeps, where it does not keep all.

use crate::UnknownName;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The latest tokens, and the first ones, to which much of attention goes whatever they say (Xiao et al. 2023). Its
/// text is `512+4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Window {
    /// Latest tokens that are kept, the one that is computed included.
    pub latest: u32,
    /// First tokens that stay.
    pub sinks: u32,
}

impl Window {
    /// First tokens that stay where nobody says how many.
    pub const SINKS: u32 = 4;

    /// Tokens that are kept.
    pub fn tokens(self) -> usize {
        self.latest as usize + self.sinks as usize
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}+{}", self.latest, self.sinks))
    }
}

impl FromStr for Window {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Window, UnknownName> {
        let parts = text.split_once('+').and_then(|(latest, sinks)| {
            Some(Window { latest: latest.parse().ok()?, sinks: sinks.parse().ok()? })
        });
        parts.filter(|window| window.latest > 0).ok_or_else(|| UnknownName {
            kind: "window",
            name: text.to_owned(),
            known: vec!["the latest tokens and the first ones that are kept, such as 512+4"],
        })
    }
}

impl From<Window> for String {
    fn from(window: Window) -> String {
        window.to_string()
    }
}

impl TryFrom<String> for Window {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Window, UnknownName> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_as_it_is_written() {
        let window = Window { latest: 512, sinks: 4 };
        assert_eq!((window.to_string().as_str(), window.tokens()), ("512+4", 516));
        assert_eq!("512+4".parse(), Ok(window));
        assert_eq!(serde_json::to_string(&window).unwrap(), "\"512+4\"");
        assert_eq!(serde_json::from_str::<Window>("\"512+4\"").unwrap(), window);
        for wrong in ["512", "0+4", "+4", "512+", "all", "-1+4"] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }
}
