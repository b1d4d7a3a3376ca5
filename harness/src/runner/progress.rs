//! What is shown of a cell while it runs and when it is done.

use crate::ui::Bar;
use record::{Cell, Event, Lowered, Outcome, Record, Reference};

/// What the page says about a cell, on its browser's bar.
pub(super) fn show(bar: &Bar, cell: &Cell, event: &Event) {
    match event {
        Event::Stage { stage } => bar.message(format!("{cell}: {stage}")),
        Event::Loading { done_bytes, total_bytes } => {
            let percent = done_bytes * 100 / (*total_bytes).max(1);
            bar.message(format!("{cell}: load {percent}%"));
        }
        Event::Token { count, .. } => bar.message(format!("{cell}: generate {count}")),
        Event::Hidden | Event::Text { .. } | Event::Done { .. } | Event::Failed { .. } => {}
    }
}

/// Who computed what is expected, where it was not transformers.
fn own_reference(outcome: &Outcome) -> Option<&'static str> {
    outcome.reference.filter(|by| *by != Reference::Transformers).map(Reference::title)
}

/// `pass bert-tiny 4-bit webgpu chrome, 12.3 ms, 4.50 bpw`
pub(super) fn line(record: &Record) -> String {
    let outcome = &record.outcome;
    let mut line = format!("{} {}", outcome.status.name(), record.cell);
    if record.synthetic_weights {
        line += ", synthetic weights";
    }
    if outcome.synthetic_inputs && !record.synthetic_weights {
        line += ", synthetic inputs";
    }
    if let Some(timing) = &outcome.timing {
        line += &format!(", {:.1} ms", timing.median_ms);
        line += &record.flag_names().map(|names| format!(" ({names})")).unwrap_or_default();
    }
    if let Some(tps) = outcome.timing.as_ref().and_then(|timing| timing.decode_tps) {
        line += &format!(", {tps:.1} tok/s");
    }
    if let Some(memory) = &outcome.memory {
        line += &format!(", {:.2} bpw", memory.bpw);
    }
    if let Some(answered) = &outcome.answered {
        let percent = answered.share() * 100.0;
        line += &format!(", {percent:.1}% of {} answers right", answered.answers);
    }
    if let Some(own) = own_reference(outcome) {
        line += &format!(", reference: {own}");
    }
    if let Some(tuning) = &outcome.tuning {
        line += &match (&tuning.hash, &tuning.note) {
            (Some(hash), _) => format!(", tuning {}", hash.get(..8).unwrap_or(hash)),
            (None, note) => format!(", not tuned: {}", note.as_deref().unwrap_or("nothing was")),
        };
    }
    if record.attempts > 1 {
        line += &format!(", attempt {}", record.attempts);
    }
    if let Some(reason) = &outcome.reason {
        let stage = outcome.stage.as_deref().map(|stage| format!("{stage}: ")).unwrap_or_default();
        line += &format!(": {stage}{reason}");
    }
    line
}

/// `  lowered to 60MB: 59.8 MB, 3.60 bpw, 84 matrices in 640 ms, 0 bytes fetched; cosine 0.912`
pub(super) fn lowered(lowered: &Lowered) -> String {
    let mut line = format!(
        "  lowered to {}: {:.1} MB, {:.2} bpw, {} matrices in {:.0} ms",
        lowered.limit,
        lowered.weights_bytes as f64 / 1e6,
        lowered.bpw,
        lowered.matrices,
        lowered.ms
    );
    if let Some(bytes) = lowered.fetched_bytes {
        line += &format!(", {bytes} bytes fetched");
    }
    let found = &lowered.correctness;
    let figures = [
        found.kl.map(|kl| format!("divergence {kl:.3}")),
        found.cosine.map(|cosine| format!("cosine {cosine:.4}")),
        found.kernel_rel_l2.map(|error| format!("kernel error {error:.1e}")),
    ];
    let figures: Vec<String> = figures.into_iter().flatten().collect();
    format!("{line}; {}", figures.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use record::{Correctness, MemoryLimit, Status, Tuning};

    #[test]
    fn a_model_that_was_lowered_says_what_that_took_and_cost() {
        let line = super::lowered(&Lowered {
            limit: MemoryLimit { bytes: 60_000_000 },
            weights_bytes: 59_840_000,
            bpw: 3.6,
            matrices: 84,
            ms: 640.4,
            fetched_bytes: Some(0),
            plan: Vec::new(),
            correctness: Correctness { cosine: Some(0.912), ..Correctness::default() },
        });
        assert_eq!(
            line,
            "  lowered to 60MB: 59.8 MB, 3.60 bpw, 84 matrices in 640 ms, 0 bytes fetched; cosine 0.9120"
        );
    }

    #[test]
    fn a_cell_says_which_tuning_it_ran_with_and_why_with_none() {
        let mut record = sample::record("r", Status::Pass);
        let (hash, note) = (Some("0123456789abcdef".to_owned()), Some("no time".to_owned()));
        record.outcome.tuning = Some(Tuning { hash, ..Tuning::default() });
        assert!(line(&record).ends_with("1.5 ms, tuning 01234567"));
        record.outcome.tuning = Some(Tuning { note, ..Tuning::default() });
        assert!(line(&record).ends_with("1.5 ms, not tuned: no time"));
    }

    #[test]
    fn a_time_to_be_read_with_care_says_so() {
        let mut record = sample::record("r", Status::Pass);
        assert_eq!(line(&record), "pass bert-tiny 4-bit wasm chrome, 1.5 ms");
        record.outcome.hidden = true;
        assert_eq!(line(&record), "pass bert-tiny 4-bit wasm chrome, 1.5 ms (hidden page)");
    }
}
