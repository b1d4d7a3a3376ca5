//! What the time of a call makes of the ceilings of its device.

use record::{BenchRow, Ceiling, CeilingKind, Share};

/// Fills in the figures that follow from a row's time and cost; its kernels multiply in `arithmetic`.
pub(super) fn finish(row: &mut BenchRow, ceilings: &[Ceiling], arithmetic: CeilingKind) {
    let Some(seconds) = row.time.as_ref().map(|time| time.median_us * 1e-6) else { return };
    let bytes = (row.cost.read_bytes + row.cost.written_bytes) as f64;
    let operations = row.cost.operations as f64;
    if seconds > 0.0 {
        row.gbps = Some(bytes / seconds / 1e9);
        row.tflops = Some(operations / seconds / 1e12);
        let bound = bound(row, ceilings, arithmetic);
        row.share = bound.map(|(of, least)| Share { of, share: least / seconds });
    }
}

/// The ceiling that leaves a call the longest time, and that time in seconds.
fn bound(
    row: &BenchRow,
    ceilings: &[Ceiling],
    arithmetic: CeilingKind,
) -> Option<(CeilingKind, f64)> {
    let value = |kind| ceilings.iter().find(|ceiling| ceiling.kind == kind)?.value;
    let bytes = (row.cost.read_bytes + row.cost.written_bytes) as f64;
    // The faster of both: what reads almost alone is not held to what also writes.
    let memory = [CeilingKind::Read, CeilingKind::Copy]
        .into_iter()
        .filter_map(|kind| Some((kind, value(kind)?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(kind, rate)| (kind, bytes / (rate * 1e9)));
    let arithmetic =
        value(arithmetic).map(|rate| (arithmetic, row.cost.operations as f64 / (rate * 1e12)));
    let dispatches = value(CeilingKind::Dispatch)
        .map(|each| (CeilingKind::Dispatch, f64::from(row.dispatches) * each * 1e-6));
    [memory, arithmetic, dispatches].into_iter().flatten().max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{CallTime, Cost};

    fn ceiling(kind: CeilingKind, value: f64) -> Ceiling {
        Ceiling { kind, value: Some(value), time: None, work: 0, skipped: None, error: None }
    }

    fn finished(cost: [u64; 3], dispatches: u32, median_us: f64) -> BenchRow {
        let [operations, read_bytes, written_bytes] = cost;
        let ceilings = [
            ceiling(CeilingKind::Copy, 100.0),
            ceiling(CeilingKind::Read, 200.0),
            ceiling(CeilingKind::F32, 1.0),
            ceiling(CeilingKind::Dispatch, 5.0),
        ];
        let mut row = BenchRow {
            cost: Cost { operations, read_bytes, written_bytes },
            dispatches,
            time: Some(CallTime { median_us, ..CallTime::default() }),
            ..BenchRow::default()
        };
        finish(&mut row, &ceilings, CeilingKind::F32);
        row
    }

    fn half_of(row: &BenchRow) -> CeilingKind {
        let Share { of, share } = row.share.unwrap();
        assert!((share - 0.5).abs() < 1e-9, "{share}");
        of
    }

    #[test]
    fn the_ceiling_that_leaves_the_longest_time_binds() {
        // 2 MB at 200 GB/s take 10 µs, a million operations at 1 TFLOP/s one, a dispatch 5.
        let row = finished([1_000_000, 1_900_000, 100_000], 1, 20.0);
        assert!((row.gbps.unwrap() - 100.0).abs() < 1e-9);
        assert!((row.tflops.unwrap() - 0.05).abs() < 1e-9);
        assert_eq!(half_of(&row), CeilingKind::Read);
        let row = finished([40_000_000, 1_900_000, 100_000], 1, 80.0);
        assert_eq!(half_of(&row), CeilingKind::F32);
        let row = finished([1_000, 1_000, 1_000], 4, 40.0);
        assert_eq!(half_of(&row), CeilingKind::Dispatch);
    }

    #[test]
    fn nothing_is_made_of_a_call_without_a_time() {
        let mut row = BenchRow::default();
        finish(&mut row, &[], CeilingKind::F32);
        assert_eq!((row.gbps, row.share), (None, None));
        let row = finished([1, 1, 1], 1, 0.0);
        assert_eq!((row.gbps, row.share), (None, None));
    }
}
