//! Where records land.

#[path = "../examples/sample/records.rs"]
#[allow(dead_code, reason = "each test file uses its part of the samples")]
mod records;

use matrix::{
    Error,
    grid::{Grid, Hardware, latest},
};
use record::{Backend, Bits, Browser, Class, Record, Scheme, Status};
use records::{PLACES, record};
use std::sync::Arc;

fn bert(bits: u8, place: usize, number: usize) -> Record {
    record(Class::Bert, "minilm", Bits::Fixed(bits), PLACES[place], number)
}

#[test]
fn rows_follow_classes_and_boxes_narrow() {
    let records = [
        record(Class::Llama, "a", Bits::Fixed(4), PLACES[0], 0),
        record(Class::Bert, "b", Bits::Adaptive, PLACES[0], 1),
        record(Class::Bert, "b", Bits::Fixed(2), PLACES[0], 2),
        record(Class::Bert, "b", Bits::Fixed(16), PLACES[0], 3),
    ];
    let grid = Grid::of(&records).unwrap();
    assert_eq!(grid.rows.iter().map(|row| row.case).collect::<Vec<_>>(), ["b", "a"]);
    let bits: Vec<_> = grid.rows[0].boxes[0].iter().map(|entry| entry.precision.bits).collect();
    assert_eq!(bits, [Bits::Fixed(16), Bits::Fixed(2), Bits::Adaptive]);
}

#[test]
fn the_last_to_begin_gives_the_verdict_in_whatever_order_records_come() {
    let mut records = [bert(4, 0, 30), bert(4, 0, 10), bert(4, 0, 20)];
    records[0].outcome.status = Status::Pass;
    let grid = Grid::of(&records).unwrap();
    let entry = &grid.rows[0].boxes[0][0];
    assert_eq!((entry.latest(), entry.records.as_slice()), (0, [1, 2, 0].as_slice()));
    assert_eq!(
        grid.latest().map(|record| record.outcome.status).collect::<Vec<_>>(),
        [Status::Pass]
    );
}

#[test]
fn a_cell_that_was_run_again_or_visited_in_rounds_counts_once() {
    // A run without a session at first, resumed; a cell of two rounds, which began together; and the
    // same cell on another system.
    let mut records = [bert(4, 0, 0), bert(8, 0, 1), bert(4, 0, 2), bert(8, 0, 1), bert(4, 0, 3)];
    Arc::make_mut(&mut records[0].environment).adapter = None;
    records[0].outcome.status = Status::Infra;
    (records[1].rounds, records[3].rounds) = (1, 2);
    Arc::make_mut(&mut records[4].environment).host.os = "Fedora Linux 44".to_owned();
    let counting = latest(&records);
    assert_eq!(counting, [&records[2], &records[3], &records[4]]);
    let grid = Grid::of(&records).unwrap();
    assert!(grid.latest().all(|record| counting.contains(&record)));
    assert_eq!(grid.latest().count(), 3);
}

#[test]
fn schemes_split_cells_only_where_weights_are_grouped() {
    let mut records = [bert(16, 0, 0), bert(16, 0, 1), bert(4, 0, 2), bert(4, 0, 3)];
    records[1].cell.precision.scheme = Scheme::Asymmetric;
    records[3].cell.precision.scheme = Scheme::Asymmetric;
    let grid = Grid::of(&records).unwrap();
    let sizes: Vec<_> = grid.rows[0].boxes[0].iter().map(|entry| entry.records.len()).collect();
    assert_eq!(sizes, [2, 1, 1]);
}

#[test]
fn two_adapters_are_two_columns() {
    let mut records = [bert(4, 0, 0), bert(4, 0, 1)];
    let adapter = Arc::make_mut(&mut records[1].environment).adapter.as_mut().unwrap();
    (adapter.description, adapter.software) = ("NVIDIA H200".to_owned(), Some(false));
    assert_eq!(Grid::of(&records).unwrap().columns.len(), 2);
}

#[test]
fn a_cell_without_an_adapter_joins_the_only_one_and_never_picks_between_two() {
    let mut records = [bert(4, 0, 0), bert(8, 0, 1)];
    Arc::make_mut(&mut records[1].environment).adapter = None;
    assert_eq!(Grid::of(&records).unwrap().columns.len(), 1);

    let mut other = bert(4, 0, 2);
    Arc::make_mut(&mut other.environment).adapter.as_mut().unwrap().description =
        "NVIDIA H200".to_owned();
    let records = [records[0].clone(), records[1].clone(), other];
    let grid = Grid::of(&records).unwrap();
    assert_eq!(grid.columns.len(), 3);
    assert_eq!(grid.columns[2].platform.hardware, Hardware::Unknown);
}

#[test]
fn columns_go_by_browser_and_backend() {
    let records: Vec<_> = (0..4).rev().map(|place| bert(4, place, place)).collect();
    let grid = Grid::of(&records).unwrap();
    let of =
        |place: usize| (grid.columns[place].platform.browser, grid.columns[place].platform.backend);
    assert_eq!(
        [0, 1, 2, 3].map(of),
        [
            (Browser::Chrome, Backend::Webgpu),
            (Browser::Chrome, Backend::Wasm),
            (Browser::Firefox, Backend::Webgpu),
            (Browser::Firefox, Backend::Wasm),
        ]
    );
}

#[test]
fn a_newer_schema_is_refused_by_line() {
    let mut records = [bert(4, 0, 0), bert(8, 0, 1)];
    records[1].schema_version = record::SCHEMA_VERSION + 1;
    let error = Grid::of(&records).unwrap_err();
    assert!(matches!(error, Error::Schema { line: 2, .. }), "{error}");
    assert!(error.to_string().contains("render it with the version that wrote it"), "{error}");
}
