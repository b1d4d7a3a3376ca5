//! What is stored of a matrix: [`Format`], the numbers, and [`Layout`], the words they are in.

use super::CHUNK;
use crate::{
    device::Kernel,
    error::{Error, Result},
};
use record::{Bits, Precision, Scheme};
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range, str::FromStr};

/// Which numbers stand for the weights of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Format {
    /// Themselves.
    F32,
    /// Themselves, rounded.
    F16,
    /// Small integers in groups.
    Grouped {
        /// 8, 4, 3 or 2.
        bits: u8,
        /// Whether groups have a minimum.
        asymmetric: bool,
        /// Weights that share a scale: 32, 64 or 128.
        group: u8,
    },
}

impl Format {
    /// The format of a matrix that is quantised by us.
    pub fn of(precision: &Precision) -> Result<Format> {
        if !Precision::GROUPS.contains(&precision.group_size) {
            let group = precision.group_size;
            return Err(Error::unsupported(format!(
                "group size {group}: use 32, 64 or 128 (--group-size)"
            )));
        }
        match precision.bits {
            Bits::Fixed(32) => Ok(Format::F32),
            Bits::Fixed(16) => Ok(Format::F16),
            Bits::Fixed(bits @ (8 | 4 | 3 | 2)) => {
                let asymmetric = precision.scheme == Scheme::Asymmetric;
                Ok(Format::Grouped { bits, asymmetric, group: precision.group_size as u8 })
            }
            other => {
                Err(Error::unsupported(format!("{other}-bit weights: use 32, 16, 8, 4, 3, 2")))
            }
        }
    }

    /// Bits of one stored weight, scales apart.
    pub fn bits(self) -> u32 {
        match self {
            Format::F32 => 32,
            Format::F16 => 16,
            Format::Grouped { bits, .. } => bits.into(),
        }
    }

    /// The code that stands for zero in the symmetric scheme.
    pub fn zero(self) -> f32 {
        match self.bits() {
            4 => 8.0,
            3 => 4.0,
            2 => 1.5,
            _ => 0.0,
        }
    }

    /// Groups in a row of `chunks` chunks.
    pub fn groups(self, chunks: usize) -> usize {
        match self {
            Format::Grouped { group, .. } => chunks.div_ceil(usize::from(group) / CHUNK),
            _ => 0,
        }
    }

    /// The variant of a kernel that reads this format.
    pub fn define(self, kernel: Kernel) -> Kernel {
        match self {
            Format::Grouped { bits, asymmetric, group } => kernel
                .with("BITS", bits.into())
                .with("GROUP", group.into())
                .with("ASYM", asymmetric.into()),
            // `weights.wgsl` divides by the group, even where nothing is grouped.
            _ => kernel.with("BITS", self.bits()).with("GROUP", 32),
        }
    }

    /// Every way in which weights can be stored.
    pub fn all() -> Vec<Format> {
        let mut formats = vec![Format::F32, Format::F16];
        for bits in [8, 4, 3, 2] {
            for group in [32, 64, 128] {
                for asymmetric in [false, true] {
                    formats.push(Format::Grouped { bits, asymmetric, group });
                }
            }
        }
        formats
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::F32 => f.write_str("f32"),
            Format::F16 => f.write_str("f16"),
            Format::Grouped { bits, asymmetric, group } => {
                let scheme = if *asymmetric { "asymmetric" } else { "symmetric" };
                write!(f, "q{bits} {scheme} g{group}")
            }
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let mut all = Format::all().into_iter();
        all.find(|format| format.to_string() == text).ok_or_else(|| {
            format!("{text:?} is no format; formats are like f16 or \"q4 symmetric g32\"")
        })
    }
}

impl From<Format> for String {
    fn from(format: Format) -> String {
        format.to_string()
    }
}

impl TryFrom<String> for Format {
    type Error = String;

    fn try_from(text: String) -> Result<Format, String> {
        text.parse()
    }
}

/// Which words the numbers of a format are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Row by row without padding, in f32: all that is no matrix.
    Dense,
    /// A matrix in chunks of 32 columns, as the table of [`crate::quant`] has them: the codes of all
    /// rows and, apart from them, the scales of all rows.
    Chunks,
}

impl Layout {
    /// Words of the codes of `chunks` chunks.
    pub fn code_words(self, format: Format, chunks: usize) -> usize {
        match self {
            Layout::Dense => chunks * CHUNK,
            Layout::Chunks => chunks * format.bits() as usize,
        }
    }

    /// Words of the scales of `groups` groups: two f16 a word, which are two scales, or the scale and
    /// the minimum of one group.
    pub fn scale_words(self, format: Format, groups: usize) -> usize {
        match (self, format) {
            (Layout::Chunks, Format::Grouped { asymmetric: true, .. }) => groups,
            (Layout::Chunks, Format::Grouped { asymmetric: false, .. }) => groups.div_ceil(2),
            _ => 0,
        }
    }

    /// The words of the scales of `groups`, out of those of `all` groups of a matrix: two scales of one
    /// word may come into two words here.
    pub fn scales_of(self, format: Format, all: &[u32], groups: Range<usize>) -> Vec<u32> {
        if self.scale_words(format, 2) != 1 {
            let at = |groups| self.scale_words(format, groups);
            return all[at(groups.start)..at(groups.end)].to_vec();
        }
        let half = |at: usize| match groups.contains(&at) {
            true => all[at / 2] >> (16 * (at % 2)) & 0xffff,
            false => 0,
        };
        groups.clone().step_by(2).map(|at| half(at) | half(at + 1) << 16).collect()
    }

    /// Bytes of a matrix, scales and padding included.
    pub fn bytes(self, format: Format, rows: usize, columns: usize) -> u64 {
        if self == Layout::Dense {
            return rows as u64 * columns as u64 * 4;
        }
        let chunks = columns.div_ceil(CHUNK);
        let codes = self.code_words(format, chunks) as u64 * rows as u64;
        (codes + self.scale_words(format, format.groups(chunks) * rows) as u64) * 4
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::Dense => "dense",
            Layout::Chunks => "chunks",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_they_are_written() {
        for format in [
            Format::F32,
            Format::F16,
            Format::Grouped { bits: 4, asymmetric: true, group: 128 },
            Format::Grouped { bits: 3, asymmetric: false, group: 32 },
        ] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        for wrong in ["", "q5 symmetric g32", "q4 symmetric g33", "f16 "] {
            assert!(wrong.parse::<Format>().unwrap_err().contains("is no format"));
        }
    }

    /// 4 bits of 40 columns: two chunks of 4 words, and one scale a group.
    #[test]
    fn bytes_count_padding_and_scales() {
        let format = |asymmetric, group| Format::Grouped { bits: 4, asymmetric, group };
        let bytes = |format| Layout::Chunks.bytes(format, 3, 40);
        assert_eq!(bytes(format(false, 32)), (3 * 8 + 3) * 4);
        assert_eq!(bytes(format(true, 32)), (3 * 8 + 6) * 4);
        assert_eq!(bytes(format(false, 128)), (3 * 8 + 2) * 4);
        assert_eq!(bytes(Format::F16), 3 * 64 * 2);
        assert_eq!(Layout::Dense.bytes(Format::F32, 3, 40), 3 * 40 * 4);
    }

    #[test]
    fn scales_of_a_part_begin_a_word() {
        let scales = |asymmetric, groups| {
            let format = Format::Grouped { bits: 4, asymmetric, group: 32 };
            Layout::Chunks.scales_of(format, &[0x2_0001, 0x4_0003, 0x5], groups)
        };
        assert_eq!(scales(false, 0..5), [0x2_0001, 0x4_0003, 0x5]);
        assert_eq!(scales(false, 0..3), [0x2_0001, 0x3]);
        assert_eq!(scales(false, 1..4), [0x3_0002, 0x4]);
        assert_eq!(scales(true, 1..3), [0x4_0003, 0x5]);
        assert!(Layout::Chunks.scales_of(Format::F16, &[], 0..0).is_empty());
    }

    #[test]
    fn a_precision_names_its_format() {
        let of = |bits, scheme, group_size| {
            let precision = Precision { scheme, group_size, ..Precision::of(Bits::Fixed(bits)) };
            Format::of(&precision).map_err(|error| error.to_string())
        };
        for (scheme, asymmetric) in [(Scheme::Symmetric, false), (Scheme::Asymmetric, true)] {
            for bits in [8, 4, 3, 2] {
                let format = Format::Grouped { bits, asymmetric, group: 64 };
                assert_eq!(of(bits, scheme, 64), Ok(format));
            }
            assert_eq!(of(16, scheme, 32), Ok(Format::F16));
            assert_eq!(of(32, scheme, 32), Ok(Format::F32));
        }
        assert!(of(4, Scheme::Symmetric, 33).unwrap_err().contains("group size 33"));
        assert!(of(5, Scheme::Symmetric, 32).unwrap_err().contains("use 32, 16, 8, 4, 3, 2"));
    }

    #[test]
    fn kernels_are_told_how_weights_are_stored() {
        use crate::device::Geometry;
        let kernel = Kernel::new("matmul", Geometry::elements(64));
        let grouped = |asymmetric| Format::Grouped { bits: 3, asymmetric, group: 128 };
        let told = |asym| kernel.with("BITS", 3).with("GROUP", 128).with("ASYM", asym);
        assert_eq!(grouped(false).define(kernel), told(0));
        assert_eq!(grouped(true).define(kernel), told(1));
        assert_eq!(Format::F16.define(kernel), kernel.with("BITS", 16).with("GROUP", 32));
    }

    /// As plans and artefacts have them.
    #[test]
    fn formats_and_layouts_have_names() {
        let format = Format::Grouped { bits: 4, asymmetric: true, group: 64 };
        assert_eq!(serde_json::to_string(&format).unwrap(), "\"q4 asymmetric g64\"");
        let layouts = [Layout::Dense, Layout::Chunks];
        assert_eq!(layouts.map(|layout| layout.to_string()), ["dense", "chunks"]);
    }

    #[test]
    fn words_of_a_row_are_counted_in_chunks() {
        let format = Format::Grouped { bits: 3, asymmetric: false, group: 32 };
        assert_eq!(Layout::Chunks.code_words(format, 5), 15);
        assert_eq!(Layout::Dense.code_words(Format::F32, 5), 160);
        assert_eq!(Layout::Dense.scale_words(format, 5), 0);
    }
}
