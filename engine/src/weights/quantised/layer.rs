//! One quantised layer: where its parts lie, how they must fit each other, and what they are as a whole.

use super::{
    super::{
        Dtype, Source, TensorInfo,
        codes::{CodeType, Codes},
    },
    config::{Method, Words},
    unpack::Unpacked,
};
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// The parts of a layer's weight `[N, K]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::weights) struct Parts {
    pub(super) method: Method,
    pub(super) bits: u8,
    /// Outputs and inputs.
    pub(in crate::weights) shape: [usize; 2],
    /// Inputs of a group: all K, where they share one.
    pub(super) group: usize,
    symmetric: bool,
    /// Whether groups may be of inputs that are no neighbours.
    is_scattered: bool,
    pub(in crate::weights) codes: TensorInfo,
    pub(super) zeros: TensorInfo,
    pub(super) scales: TensorInfo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) groups: Option<TensorInfo>,
}

/// What a part must be: its shape and types.
type Wanted<'a> = (&'a TensorInfo, Vec<usize>, &'static [Dtype]);

const FLOATS: &[Dtype] = &[Dtype::F16, Dtype::BF16, Dtype::F32];

impl Parts {
    /// Of GPTQ and AWQ: N is what scales have columns for. The error is the reason alone.
    pub(super) fn in_words(
        words: &Words,
        [codes, zeros, scales]: [TensorInfo; 3],
        groups: Option<TensorInfo>,
    ) -> Result<Parts, String> {
        let Words { method, bits, group, symmetric, is_scattered } = *words;
        let inputs = match method {
            Method::Awq => codes.rows(),
            _ => codes.rows().saturating_mul(32) / usize::from(bits).max(1),
        };
        let shape = [scales.row_len(), inputs];
        let group = group.unwrap_or(inputs).min(inputs);
        let parts = Parts {
            method,
            bits,
            shape,
            group,
            symmetric,
            is_scattered,
            codes,
            zeros,
            scales,
            groups,
        };
        parts.check()?;
        Ok(parts)
    }

    /// Of HQQ, where a row of codes is a group, or else a column is. The error is the reason alone.
    pub(super) fn in_halves(
        shape: [usize; 2],
        [codes, zeros, scales]: [TensorInfo; 3],
    ) -> Result<Parts, String> {
        let group = codes.row_len();
        let is_column = scales.row_len() != 1;
        let to_a_byte = shape[0].saturating_mul(shape[1]) / codes.len().max(1);
        let bits = if codes.dtype == Dtype::I32 { 3 } else { (8 / to_a_byte.max(1)) as u8 };
        let is_scattered = is_column || group == 0 || !shape[1].is_multiple_of(group);
        let parts = Parts {
            method: Method::Hqq,
            bits,
            shape,
            group,
            symmetric: false,
            is_scattered,
            codes,
            zeros,
            scales,
            groups: None,
        };
        parts.check()?;
        Ok(parts)
    }

    /// The error is the reason alone.
    pub(in crate::weights) fn check(&self) -> Result<(), String> {
        if self.group == 0 || !matches!(self.bits, 2 | 3 | 4 | 8) {
            return Err(format!("{} bits in groups of {}", self.bits, self.group));
        }
        for (part, shape, dtypes) in self.wanted() {
            if part.shape != shape || !dtypes.contains(&part.dtype) || part.parts.is_some() {
                let wanted = dtypes.iter().map(Dtype::to_string).collect::<Vec<_>>().join(" or ");
                return Err(format!(
                    "{} is {} {:?}, and {wanted} {shape:?} is what {} bits in groups of {} ask for",
                    part.name, part.dtype, part.shape, self.bits, self.group
                ));
            }
        }
        Ok(())
    }

    fn wanted(&self) -> Vec<Wanted<'_>> {
        let Parts { codes, zeros, scales, shape: [outputs, inputs], .. } = self;
        let (outputs, inputs) = (*outputs, *inputs);
        if self.method == Method::Hqq {
            let rows = outputs.saturating_mul(inputs).div_ceil(self.group);
            let (packed, dtypes): (usize, &[Dtype]) = match self.bits {
                3 => (rows.div_ceil(10), &[Dtype::I32]),
                bits => (rows.saturating_mul(bits.into()).div_ceil(8), &[Dtype::U8]),
            };
            let line = if scales.row_len() == 1 { vec![rows, 1] } else { vec![1, self.group] };
            return vec![
                (codes, vec![packed, self.group], dtypes),
                (zeros, line.clone(), FLOATS),
                (scales, line, FLOATS),
            ];
        }
        let packed = |integers: usize| integers.saturating_mul(usize::from(self.bits)).div_ceil(32);
        let there_are = inputs.div_ceil(self.group);
        let words = match self.method {
            Method::Awq => vec![inputs, packed(outputs)],
            _ => vec![packed(inputs), outputs],
        };
        let mut wanted: Vec<Wanted<'_>> = vec![
            (codes, words, &[Dtype::I32]),
            (zeros, vec![there_are, packed(outputs)], &[Dtype::I32]),
            (scales, vec![there_are, outputs], FLOATS),
        ];
        wanted.extend(self.groups.as_ref().map(|part| (part, vec![inputs], &[Dtype::I32][..])));
        wanted
    }

    /// Stored bytes of all parts.
    pub(in crate::weights) fn bytes(&self) -> u64 {
        let parts = [&self.codes, &self.zeros, &self.scales].into_iter().chain(&self.groups);
        parts.fold(0, |sum, part| sum.saturating_add(part.bytes()))
    }

    /// What it is called: by whom it was quantised, and its bits.
    pub(in crate::weights) fn kind(&self) -> String {
        let method = match self.method {
            Method::Gptq | Method::GptqV2 => "GPTQ",
            Method::Awq => "AWQ",
            Method::Hqq => "HQQ",
        };
        format!("{method} {}", self.bits)
    }

    /// The codes that it holds, where groups are of neighbours, 32 or a multiple of that.
    pub(in crate::weights) fn code_type(&self) -> Option<CodeType> {
        let group = [128, 64, 32].into_iter().find(|size| self.group.is_multiple_of(*size))?;
        // The two bits of [`crate::quant`] have no zero in the symmetric scheme.
        let asymmetric = !self.symmetric || self.bits == 2;
        let found = CodeType { bits: self.bits, asymmetric, group: group as u8 };
        // Where all inputs share a group, there is nothing to scatter.
        let is_one = self.group == self.shape[1] && self.method != Method::Hqq;
        (is_one || !self.is_scattered).then_some(found)
    }

    /// All numbers, row by row.
    pub(in crate::weights) async fn f32s(&self, source: &dyn Source) -> Result<Vec<f32>> {
        let layer = Unpacked::read(self, source).await?;
        let [outputs, inputs] = self.shape;
        let mut numbers = self.codes.room(outputs * inputs)?;
        numbers.resize(outputs * inputs, 0.0);
        layer.each(|output, input, code| {
            let at = layer.line(output, input);
            // Of integers and an f16 nothing is rounded here.
            numbers[output * inputs + input] = (code as f32 - layer.zeros[at]) * layer.scales[at];
        });
        Ok(numbers)
    }

    /// All codes, row by row, as [`Parts::code_type`] says.
    pub(in crate::weights) async fn codes(
        &self,
        kind: CodeType,
        source: &dyn Source,
    ) -> Result<Codes> {
        let layer = Unpacked::read(self, source).await?;
        let [outputs, inputs] = self.shape;
        if !layer.is_in_order() {
            return Err(self.codes.refuse(
                "has inputs that are out of order; say \"desc_act\": true in quantization_config",
            ));
        }
        let middle = (1 << (self.bits - 1)) as f32;
        if !kind.asymmetric && layer.zeros.iter().any(|zero| *zero != middle) {
            return Err(self.codes.refuse(format!(
                "has a zero other than {middle}; say \"sym\": false in quantization_config"
            )));
        }
        // Codes of a byte have a sign.
        let less = if self.bits == 8 { 128 } else { 0 };
        let mut codes = self.codes.room(outputs * inputs)?;
        codes.resize(outputs * inputs, 0);
        layer.each(|output, input, code| {
            codes[output * inputs + input] = (code as i32 - less) as u8;
        });
        let line = |output: usize, input: usize| {
            let at = layer.line(output, input);
            [layer.scales[at], -layer.scales[at] * (layer.zeros[at] - less as f32)]
        };
        let starts = || (0..inputs).step_by(usize::from(kind.group));
        let lines = (0..outputs).flat_map(|output| starts().map(move |input| line(output, input)));
        Ok(Codes { codes, lines: lines.collect() })
    }
}
