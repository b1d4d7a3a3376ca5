//! What a reader must know before believing a figure.

use crate::{Record, names::names};

names! {
    /// Why the figures of a record are to be read with care.
    "flag" Flag {
        /// The page was hidden for some of the time.
        Hidden = "hidden page",
        /// The page's clock ticks so slowly that a pass is few ticks.
        CoarseTimer = "coarse timer",
        /// Most of a pass is a wait for a timer of the browser and no work: the GPU time is what it
        /// took.
        BrowserTimer = "browser's timer",
        /// The prompt is so long that its beginning was judged, and not all of it.
        PartJudged = "beginning judged",
    }
}

/// A clock is coarse that ticks fewer times than this in a pass.
const TICKS: f64 = 20.0;
/// A wait that is longer than any that work alone explains: Firefox looks for finished work every
/// 100 ms.
const WAIT_MS: f64 = 50.0;

impl Record {
    /// What is to be known before its figures are believed.
    pub fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        if self.outcome.hidden {
            flags.push(Flag::Hidden);
        }
        if self.outcome.correctness.is_some_and(|found| found.judged_positions.is_some()) {
            flags.push(Flag::PartJudged);
        }
        let Some(timing) = &self.outcome.timing else { return flags };
        let capabilities = self.environment.capabilities.as_ref();
        let tick = capabilities.and_then(|page| page.timer_resolution_ms);
        if tick.is_some_and(|tick| tick * TICKS > timing.median_ms) {
            flags.push(Flag::CoarseTimer);
        }
        let wait = timing.gpu_median_ms.map(|gpu| timing.median_ms - gpu);
        if wait.is_some_and(|wait| wait > WAIT_MS && wait > 0.5 * timing.median_ms) {
            flags.push(Flag::BrowserTimer);
        }
        flags
    }

    /// Their names in a line: `hidden page, coarse timer`; none where nothing is to be known.
    pub fn flag_names(&self) -> Option<String> {
        let names: Vec<_> = self.flags().into_iter().map(Flag::name).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: &str, tick: f64) -> Record {
        let json = format!(
            r#"{{"schema_version":2,"run_id":"r","started_at":"","attempts":1,"repro":"",
            "cell":{{"class":"bert","case":"b","bits":4,"backend":"webgpu","browser":"firefox"}},
            "environment":{{"capabilities":{{"timer_resolution_ms":{tick}}}}},"outcome":{outcome}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn times_that_mislead_are_flagged() {
        let timing = |median: f64, gpu: f64| {
            format!(
                r#"{{"status":"pass","timing":{{"median_ms":{median},"gpu_median_ms":{gpu}}}}}"#
            )
        };
        let flags = |median, gpu, tick| record(&timing(median, gpu), tick).flags();
        assert_eq!(flags(100.2, 0.8, 0.02), [Flag::BrowserTimer]);
        assert_eq!(flags(3.0, 1.0, 0.02), []);
        assert_eq!(flags(700.0, 600.0, 0.02), []);
        assert_eq!(flags(1.5, 1.0, 1.0), [Flag::CoarseTimer]);
        let hidden = record(r#"{"status":"pass","hidden":true}"#, 0.02);
        assert_eq!(hidden.flags(), [Flag::Hidden]);
        let cut = record(r#"{"status":"pass","correctness":{"judged_positions":341}}"#, 0.02);
        assert_eq!(cut.flags(), [Flag::PartJudged]);
        let hidden = record(&timing(1.5, 1.0).replacen('{', r#"{"hidden":true,"#, 1), 1.0);
        assert_eq!(hidden.flag_names().as_deref(), Some("hidden page, coarse timer"));
        assert_eq!(record(&timing(3.0, 1.0), 0.02).flag_names(), None);
    }
}
