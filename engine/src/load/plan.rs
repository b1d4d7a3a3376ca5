//! What a model's weights will be: a list that can be summed, compared, printed and kept.

use crate::{
    quant::{Format, Layout},
    weights::TensorInfo,
};
use record::{PlanEntry, Quantizer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, ops::Range};

/// Every weight of a model in a precision, in the order in which they are loaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPlan {
    /// What is kept, each under a name of its own.
    pub entries: Vec<Entry>,
    /// Tensors of the checkpoint that the class knows and has no use for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<TensorInfo>,
}

/// One weight: where it comes from, what is done with it on the way, and what it becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name, as a rule that of its first source.
    pub name: String,
    /// Sizes of what is kept: `[N, K]` of a matrix, `[G, N, K]` of one in G groups.
    pub shape: Vec<usize>,
    /// The ranges of files that it is made of, in the order in which its first step takes them.
    pub sources: Vec<TensorInfo>,
    /// What is done on the way, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Which numbers are kept.
    pub format: Format,
    /// Which words they are in: only matrices are in chunks.
    pub layout: Layout,
    /// Where they are kept.
    pub place: Place,
    /// Bytes that are allocated for it.
    pub bytes: u64,
}

/// Where a weight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Where the arithmetic runs.
    Device,
    /// In main memory, whatever the device is.
    Host,
}

/// Something that is done to numbers between a file and the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Each row of a kernel times what the batch norm behind it makes of it; the sources are kernel,
    /// gain and variance.
    FoldNorm {
        /// Added to variances.
        eps: f32,
    },
    /// The bias of such a kernel; the sources are gain, offset, mean and variance, and before them
    /// the bias, if there is one.
    FoldNormBias {
        /// Added to variances.
        eps: f32,
    },
    /// Directions are given their lengths, one for each element of the kernel (Salimans and Kingma
    /// 2016); the sources are directions and lengths.
    NormWeight,
    /// Rows of `(c, ky, kx)`, as files have them, become rows of `(ky, kx, c)`, as images are read.
    ChannelsLast {
        /// Input channels.
        channels: usize,
    },
    /// The rows of all sources, one below another.
    Stack,
    /// Rows become columns.
    Transpose,
    /// Every number times this one.
    Scale {
        /// The factor.
        by: f32,
    },
    /// A table of biases by distance is spread over the pairs of tokens of each window.
    SpreadOverWindows {
        /// Rows and columns of the grid that is cut into windows.
        grid: [usize; 2],
        /// Side of a window.
        side: usize,
        /// Rows and columns by which windows are shifted.
        shift: usize,
    },
    /// Codes are chosen.
    Quantise {
        /// By what.
        by: Quantizer,
    },
    /// Blocks of the file have this format and are taken as they are.
    TakeBlocks,
    /// Codes of the file are taken as they are; their scales and minimums become f16.
    TakeCodes,
    /// It is the same matrix as another entry.
    Tied {
        /// The name of that entry.
        to: String,
    },
    /// It is the same matrix as another entry if the file holds the same bytes for both, which
    /// [`super::Declared::settle`] finds out, and otherwise one like it.
    TiedIfEqual {
        /// The name of that entry.
        to: String,
        /// Bytes that are allocated if it is not.
        otherwise: u64,
    },
}

impl LoadPlan {
    /// Bytes that are allocated.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }

    /// Bytes that are allocated in one place.
    pub fn bytes_at(&self, place: Place) -> u64 {
        let here = self.entries.iter().filter(|entry| entry.place == place);
        here.map(|entry| entry.bytes).sum()
    }

    /// Bytes that are allocated besides, if all matrices differ that the file may have twice.
    pub fn undecided_bytes(&self) -> u64 {
        let otherwise = |step: &Step| match step {
            Step::TiedIfEqual { otherwise, .. } => *otherwise,
            _ => 0,
        };
        self.entries.iter().flat_map(|entry| &entry.steps).map(otherwise).sum()
    }

    /// Bytes of the sources of all entries.
    pub fn source_bytes(&self) -> u64 {
        let read = self.entries.iter().filter(|entry| entry.tied_to().is_none());
        read.flat_map(|entry| &entry.sources).map(TensorInfo::bytes).sum()
    }

    /// The place of an entry that others are tied to.
    pub(super) fn position(&self, name: &str) -> usize {
        let position = self.entries.iter().position(|entry| entry.name == name);
        position.expect("what is tied to was declared")
    }

    /// The figures for a record, caches and peaks apart. What stays in main memory beside the
    /// device's copy is no weight of the model.
    pub fn memory(&self) -> record::Memory {
        let entries = || self.entries.iter().filter(|entry| entry.place == Place::Device);
        let matrices = || entries().filter(|entry| entry.is_matrix() && entry.bytes > 0);
        let bytes: u64 = matrices().map(|entry| entry.bytes).sum();
        let weights: u64 = matrices().map(Entry::weights).sum();
        record::Memory {
            weights_fp16_bytes: entries().map(Entry::weights).sum::<u64>() * 2,
            weights_bytes: self.bytes_at(Place::Device),
            bpw: bytes as f64 * 8.0 / weights.max(1) as f64,
            ..record::Memory::default()
        }
    }

    /// How the weights are stored: one entry a format.
    pub fn formats(&self) -> Vec<PlanEntry> {
        let mut formats: BTreeMap<String, PlanEntry> = BTreeMap::new();
        let kept = self.entries.iter().filter(|e| e.place == Place::Device && e.bytes > 0);
        for entry in kept {
            let format = entry.format.to_string();
            let sum = formats
                .entry(format.clone())
                .or_insert_with(|| PlanEntry { format, ..PlanEntry::default() });
            sum.tensors += entry.matrices() as u64;
            sum.weights += entry.weights();
            sum.bytes += entry.bytes;
        }
        formats.into_values().collect()
    }

    /// SHA-256 of the plan, in hexadecimal: two plans of the same hash load the same weights. It is
    /// that of the plan's JSON without white space, fields in the order of the types above.
    pub fn hash(&self) -> String {
        hash(self)
    }
}

impl Entry {
    /// SHA-256 of the entry, as of a plan. With the revision of the files that it names it is a key
    /// under which packed words can be kept.
    pub fn hash(&self) -> String {
        hash(self)
    }

    /// Whether it is a matrix that ops multiply with, or several.
    pub fn is_matrix(&self) -> bool {
        self.layout == Layout::Chunks
    }

    /// How many matrices, or other tensors, it is.
    pub fn matrices(&self) -> usize {
        match self.is_matrix() {
            true => self.shape[..self.shape.len() - 2].iter().product(),
            false => 1,
        }
    }

    /// Rows and columns of each of its matrices.
    pub fn rows_columns(&self) -> [usize; 2] {
        let [.., rows, columns] = self.shape[..] else { panic!("{} is no matrix", self.name) };
        [rows, columns]
    }

    /// The entry whose matrix it is.
    pub fn tied_to(&self) -> Option<&str> {
        match self.steps.first() {
            Some(Step::Tied { to }) => Some(to),
            _ => None,
        }
    }

    /// Decides that it is the same matrix as the one that it is tied to.
    pub(super) fn tie(&mut self) {
        if let Some(Step::TiedIfEqual { to, .. }) = self.steps.first() {
            self.steps = vec![Step::Tied { to: to.clone() }];
        }
    }

    /// Decides that it is a matrix of its own.
    pub(super) fn untie(&mut self) {
        if let Some(Step::TiedIfEqual { otherwise, .. }) = self.steps.first() {
            self.bytes = *otherwise;
            self.steps.remove(0);
        }
    }

    /// Whether codes are chosen for it.
    pub(super) fn is_quantised(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Quantise { .. }))
    }

    /// Whether it is made of rows as the file has them, so that it need not be there as a whole in f32.
    pub(super) fn streams(&self) -> bool {
        let packs = |step: &Step| {
            matches!(step, Step::Stack | Step::Quantise { .. } | Step::TakeBlocks | Step::TakeCodes)
        };
        let takes_codes = self.steps.contains(&Step::TakeCodes);
        self.is_matrix()
            && self.steps.iter().all(packs)
            && (takes_codes || self.sources.iter().all(TensorInfo::is_by_rows))
    }

    /// Which rows of which sources these rows are, where they are rows as the file has them.
    pub(super) fn rows_of_sources(
        &self,
        rows: Range<usize>,
    ) -> impl Iterator<Item = (&TensorInfo, Range<usize>)> {
        let mut first = 0;
        self.sources.iter().filter_map(move |source| {
            let begin = first;
            first += source.rows();
            let own = rows.start.max(begin)..rows.end.min(first);
            (!own.is_empty()).then(|| (source, own.start - begin..own.end - begin))
        })
    }

    /// Weights of the model that it holds: those of another entry, and what is spread, count once.
    pub fn weights(&self) -> u64 {
        match self.steps.first() {
            Some(Step::Tied { .. } | Step::TiedIfEqual { .. }) => 0,
            Some(Step::SpreadOverWindows { .. }) => self.sources[0].len() as u64,
            _ => self.shape.iter().map(|size| *size as u64).product(),
        }
    }

    /// Bits of a stored weight, scales and padding included.
    pub fn bpw(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.bytes as f64 * 8.0 / self.weights().max(1) as f64)
    }

    /// Bytes that this many of its kind take.
    pub(super) fn size(&self) -> u64 {
        let weights = self.shape.iter().map(|size| *size as u64).product::<u64>();
        match self.is_matrix() {
            true => {
                let [rows, columns] = self.rows_columns();
                self.matrices() as u64 * self.layout.bytes(self.format, rows, columns)
            }
            false => weights * 4,
        }
    }
}

/// SHA-256 of a value's JSON, in hexadecimal.
pub(super) fn hash(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("plans are plain data");
    hex(&Sha256::digest(json))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
