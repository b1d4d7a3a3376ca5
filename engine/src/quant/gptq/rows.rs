//! Some rows of a matrix on their way: what they should be, what they are, and the error that is left.

use super::factor::Factor;
use crate::quant::{
    Format, GroupCodes,
    round::{nearest_codes, range},
};
use half::f16;

/// Rows of weights and what stands for them; columns are in the order of the factor.
pub(super) struct Rows<'a> {
    pub(super) factor: &'a Factor,
    pub(super) format: Format,
    pub(super) group: usize,
    pub(super) groups: usize,
    /// What is aimed at, in the order of the model.
    pub(super) targets: &'a [f32],
    /// Codes, as numbers.
    pub(super) codes: Vec<f32>,
    /// Target less value.
    pub(super) errors: Vec<f32>,
    /// Scale and minimum of each group of each row: a value is `d · code + m`.
    pub(super) lines: Vec<[f32; 2]>,
}

impl<'a> Rows<'a> {
    /// With the scales that rounding to nearest would take, and codes that are yet to be chosen.
    pub(super) fn nearest(targets: &'a [f32], format: Format, factor: &'a Factor) -> Rows<'a> {
        let Format::Grouped { group, asymmetric, .. } = format else { unreachable!("no groups") };
        let group = usize::from(group);
        let groups = factor.columns.div_ceil(group);
        let line = |weights: &[f32]| {
            let GroupCodes { d, m, .. } = nearest_codes(weights, format);
            let d = d.to_f32();
            [d, if asymmetric { m.to_f32() } else { -format.zero() * d }]
        };
        let rows = targets.chunks_exact(factor.columns);
        let lines = rows.flat_map(|row| row.chunks(group).map(line)).collect();
        let errors = factor.to_order(targets);
        let codes = vec![0.0; targets.len()];
        Rows { factor, format, group, groups, targets, codes, errors, lines }
    }

    /// The nearest code of a value in a group, and what it stands for.
    #[inline(always)]
    pub(super) fn nearest_level([d, m]: [f32; 2], [low, high]: [f32; 2], value: f32) -> [f32; 2] {
        let code = match d == 0.0 {
            true => low,
            false => ((value - m) / d).round_ties_even().clamp(low, high),
        };
        [code, d * code + m]
    }

    /// Lowest and highest code.
    pub(super) fn range(&self) -> [f32; 2] {
        range(self.format.bits())
    }

    /// A group after another, row by row.
    pub(super) fn codes(&self) -> Vec<GroupCodes> {
        let (columns, group) = (self.factor.columns, self.group);
        let codes = self.factor.to_model(&self.codes);
        let mut all = Vec::with_capacity(self.lines.len());
        for (codes, lines) in codes.chunks_exact(columns).zip(self.lines.chunks_exact(self.groups))
        {
            for (codes, [d, m]) in codes.chunks(group).zip(lines) {
                let mut bytes = [0u8; 128];
                for (byte, code) in bytes.iter_mut().zip(codes) {
                    *byte = *code as i32 as u8;
                }
                let [d, m] = [*d, *m].map(f16::from_f32);
                all.push(GroupCodes { d, m, codes: bytes });
            }
        }
        all
    }
}
