//! The context of the compatibility matrix.

use super::chip::{Chip, Labels};
use super::column::ColumnHead;
use super::ladder::Ladder;
use super::platform::Platform;
use super::sheet::Sheet;
use super::status::Summary;
use crate::Error;
use crate::embed::Data;
use crate::grid::{Grid, Row};
use askama::Template;
use record::{Class, Record};
use serde::Serialize;

/// The compatibility matrix.
#[derive(Clone, Debug, Serialize, Template)]
#[template(path = "compatibility.html", whitespace = "minimize")]
pub struct Compatibility<'a> {
    /// What was run.
    pub sheet: Sheet,
    /// The fewest bits that hold, of each class in each column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ladder: Option<Ladder>,
    /// Cells by status.
    pub summary: Summary,
    /// Heads, left to right.
    pub columns: Vec<ColumnHead>,
    /// What each column's platform offers, where that is known.
    pub platforms: Vec<Platform>,
    /// Rows, by class.
    pub classes: Vec<ClassRows>,
    #[serde(skip)]
    data: Data<'a>,
}

/// The rows of one class.
#[derive(Clone, Debug, Serialize)]
pub struct ClassRows {
    /// Name of the class.
    pub class: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Its cases.
    pub rows: Vec<CompatibilityRow>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CompatibilityRow {
    /// Its name.
    pub case: String,
    /// Whether its weights were seeded numbers.
    pub synthetic_weights: bool,
    /// What else its figures need to be read with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// One box a column, each with its chips.
    pub boxes: Vec<Vec<Chip>>,
}

impl Compatibility<'_> {
    /// The context for `records`.
    pub fn of(records: &[Record]) -> Result<Compatibility<'_>, Error> {
        let grid = &Grid::of(records)?;
        let labels = Labels::of(grid);
        let classes = grid.rows.chunk_by(|a, b| a.class == b.class).map(|rows| ClassRows {
            class: rows[0].class.name(),
            purpose: purpose(rows[0].class),
            rows: rows.iter().map(|row| compatibility_row(grid, row, &labels)).collect(),
        });
        let columns = ColumnHead::all(grid);
        let platforms = grid.columns.iter().zip(&columns).filter_map(|(column, head)| {
            let name = format!("{}, {}", head.name(), head.hardware);
            Platform::of(grid, column, name)
        });
        Ok(Compatibility {
            sheet: Sheet::of(records),
            ladder: Ladder::of(grid),
            summary: Summary::of(grid),
            platforms: platforms.collect(),
            columns,
            classes: classes.collect(),
            data: Data::of(records)?,
        })
    }
}

fn compatibility_row(grid: &Grid, row: &Row, labels: &Labels) -> CompatibilityRow {
    let chips = |entries: &Vec<_>| entries.iter().map(|e| Chip::of(grid, e, labels)).collect();
    CompatibilityRow {
        case: row.title.clone(),
        synthetic_weights: row.synthetic_weights,
        notes: row.notes(),
        boxes: row.boxes.iter().map(chips).collect(),
    }
}

/// What a class of models is for.
pub(super) fn purpose(class: Class) -> &'static str {
    match class {
        Class::Bert => "text encoder",
        Class::T5 => "text encoder-decoder",
        Class::Llama => "text decoder",
        Class::Qwen2 => "text decoder, biased projections",
        Class::Whisper => "speech to text",
        Class::Wav2vec2 => "speech to characters, CTC",
        Class::Clap => "audio and text embeddings",
        Class::Vit => "image classification",
        Class::Detr => "object detection",
        Class::Clip => "image and text embeddings",
        Class::Llava => "image and text to text",
        Class::LlavaNext => "image tiles and text to text",
        Class::Xclip => "video and text embeddings",
    }
}
