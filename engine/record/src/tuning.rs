//! Which kernels calls get where somebody has measured them.

use crate::names::names;
use serde::{Deserialize, Serialize};

names! {
    /// How kernels are chosen: a value of [`crate::Axis::Tuning`].
    "tuning" TuningMode {
        /// By the engine's rules.
        Off = "off",
        /// As was measured before on the same adapter in the same browser.
        Fixed = "fixed",
        /// As is measured before the passes of the cell.
        Auto = "auto",
    }
}

/// Kernels by call, as they were measured on one adapter in one version of a browser.
///
/// In the record of a cell it is what the passes ran with, or `note` says why they ran by the rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tuning {
    /// SHA-256 over calls and picks, in hexadecimal: equal where all calls get equal kernels. None where none are
    /// picked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Why there is no tuning although there was to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The adapter, as it describes itself.
    pub adapter: String,
    /// The browser and its version, or `host`.
    pub browser: String,
    /// A call each.
    pub entries: Vec<TunedCall>,
}

/// What was found of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TunedCall {
    /// Op, shape and format.
    pub call: String,
    /// How often a pass makes it.
    pub calls: u32,
    /// The kernel that the rules take.
    pub rule: String,
    /// The one to take: that of the rules where no other is faster beyond noise.
    pub pick: String,
    /// What was measured.
    pub tried: Vec<TriedKernel>,
}

/// What a kernel took for a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TriedKernel {
    /// File, definitions and geometry.
    pub kernel: String,
    /// Samples so far, of all times that it was measured.
    pub samples: u32,
    /// Median of the last ones, of one call.
    pub median_us: f64,
    /// Their first and third quartile.
    pub quartiles_us: [f64; 2],
}

impl TunedCall {
    /// What a kernel took, if it was measured.
    pub fn tried(&self, kernel: &str) -> Option<&TriedKernel> {
        self.tried.iter().find(|tried| tried.kernel == kernel)
    }

    /// By how much the pick is faster than the rules' kernel, in hundredths of its time.
    pub fn gain(&self) -> Option<f64> {
        let [rule, pick] = [&self.rule, &self.pick].map(|kernel| self.tried(kernel));
        let (rule, pick) = (rule?.median_us, pick?.median_us);
        (rule > 0.0).then(|| 100.0 * (1.0 - pick / rule))
    }
}

impl Tuning {
    /// Takes what another has found since: its calls go over those of the same name.
    pub fn extend(&mut self, newer: Tuning) {
        for entry in newer.entries {
            match self.entries.iter_mut().find(|known| known.call == entry.call) {
                Some(known) => *known = entry,
                None => self.entries.push(entry),
            }
        }
        self.entries.sort_by(|a, b| a.call.cmp(&b.call));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(call: &str, pick: &str) -> TunedCall {
        let tried = [("rule", 10.0), ("other", 8.0)].map(|(kernel, median_us)| TriedKernel {
            kernel: kernel.into(),
            median_us,
            ..TriedKernel::default()
        });
        let (rule, pick) = ("rule".into(), pick.into());
        TunedCall { call: call.into(), rule, pick, tried: tried.into(), ..TunedCall::default() }
    }

    #[test]
    fn a_gain_is_that_of_the_pick_over_the_rule() {
        let gain = entry("a", "other").gain().expect("both were tried");
        assert!((gain - 20.0).abs() < 1e-9, "{gain}");
        assert_eq!(entry("a", "rule").gain(), Some(0.0));
        assert_eq!(entry("a", "unknown").gain(), None);
    }

    #[test]
    fn what_is_newer_goes_over_what_is_known_of_a_call() {
        let mut known = Tuning { entries: vec![entry("b", "rule")], ..Tuning::default() };
        let newer = vec![entry("b", "other"), entry("a", "rule")];
        known.extend(Tuning { entries: newer, ..Tuning::default() });
        let picks: Vec<_> =
            known.entries.iter().map(|it| (it.call.as_str(), it.pick.as_str())).collect();
        assert_eq!(picks, [("a", "rule"), ("b", "other")]);
    }

    #[test]
    fn fields_that_are_not_there_have_defaults() {
        let read: Tuning = serde_json::from_str(r#"{"entries": [{"call": "a"}]}"#).unwrap();
        assert_eq!((read.hash, read.entries[0].calls), (None, 0));
        assert_eq!("auto".parse(), Ok(TuningMode::Auto));
    }
}
