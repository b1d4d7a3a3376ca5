//! Rows of a packed table.

use super::{Check, elements};
use crate::{
    device::{Bind, Device},
    quant::Matrix,
    tensor::Tensor,
};

/// `[T, K]` from `ids: [T]` and `table: [N, K]`. Ids must lie in the table.
pub fn embed(device: &Device, ids: &Tensor, table: &Matrix) -> Tensor {
    let tokens = ids.count();
    let columns = table.columns;
    match device {
        Device::Cpu(_) => {
            let mut row = vec![0.0; table.chunks() * crate::quant::CHUNK];
            let mut values = Vec::with_capacity(tokens * columns);
            for &id in ids.u32s() {
                table.dequantise_row(id as usize, &mut row);
                values.extend_from_slice(&row[..columns]);
            }
            Tensor::from_f32(&[tokens, columns], values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&[tokens, columns]);
            let mut defines = table.format.defines();
            defines.push(("WG", super::WG));
            for shard in table.shards.iter() {
                let params =
                    [tokens, columns, table.chunks(), table.groups(), shard.rows, shard.first];
                let mut binds =
                    vec![Bind::Read(1, ids), Bind::Raw(2, shard.codes.gpu()), Bind::Write(3, &y)];
                if table.groups() > 0 {
                    binds.push(Bind::Raw(4, shard.scales.gpu()));
                }
                gpu.dispatch(
                    "embed",
                    &defines,
                    &params.map(|value| value as u32),
                    &binds,
                    elements(tokens * table.chunks() * 8),
                );
            }
            y
        }
    }
}

pub(super) fn checks() -> Vec<Check> {
    super::matmul::formats()
        .into_iter()
        .map(|format| {
            Check::new(format!("embed {format}"), move |device| {
                let table = super::matmul::sample_matrix(device, 40, 72, format);
                let ids = device.upload_u32(&[5], vec![0, 39, 7, 7, 31]);
                vec![embed(device, &ids, &table)]
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{quant::Format, testing::normal};

    #[test]
    fn rows_come_back_in_the_order_of_their_ids() {
        let device = Device::cpu();
        let table = super::super::matmul::sample_matrix(&device, 40, 72, Format::F32);
        let ids = device.upload_u32(&[2], vec![39, 1]);
        let values = normal(5, 40 * 72);
        let expected = [&values[39 * 72..], &values[72..144]].concat();
        assert_eq!(embed(&device, &ids, &table).f32s(), expected);
    }
}
