//! Rows of a packed table.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
    matmul::{formats, sample_in_shards, shards},
};
use crate::{
    device::{Analysis, Bind, Cpu, Device, Geometry, Kernel, numbers},
    quant::{Format, Layout, Matrix},
    tensor::Tensor,
};

fn kernels(format: Format) -> [Kernel; 1] {
    [format.define(Kernel::new("embed", Geometry::elements(WG)))]
}

/// Only the rows that are taken are read.
fn analysis(ids: &[usize], columns: usize, format: Format, layout: Layout) -> Analysis {
    let tokens = numbers(ids) as usize;
    let rows = layout.bytes(format, tokens, columns);
    Analysis::writes([tokens, columns]).reads([ids]).reads_bytes(rows)
}

/// `[T, K]` from `ids: [T]` and `table: [N, K]`. Ids must lie in the table.
pub fn embed(device: &Device, ids: &Tensor, table: &Matrix) -> Tensor {
    let tokens = ids.count();
    let columns = table.columns;
    let analysis = analysis(ids.shape(), columns, table.format, table.layout);
    let shape = device.call("embed", &[ids.shape(), &table.shape()], analysis);
    match device {
        Device::Cpu(Cpu { products: Some(products), .. }) => {
            let y = Tensor::from_f32(&shape, products.rows(ids.u32s(), table.id()));
            if let Some(tape) = device.tape()
                && let Some(products) = tape.products()
            {
                let (ids, id) = (ids.clone(), table.id());
                tape.note(&y, move |dy, _| products.rows_back(ids.u32s(), id, dy));
            }
            y
        }
        Device::Cpu(_) => {
            let mut row = vec![0.0; table.chunks() * crate::quant::CHUNK];
            let mut values = Vec::with_capacity(tokens * columns);
            let table = table.view();
            for &id in ids.u32s() {
                table.dequantise_row(id as usize, &mut row);
                values.extend_from_slice(&row[..columns]);
            }
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(kernels(table.format)) else {
                let inputs = [Input::Indices(ids), Input::Matrix(table)];
                return on_host(gpu, "embed", &inputs, y, |cpu, ids, tables| {
                    embed(cpu, &ids[0], &tables[0])
                });
            };
            for shard in table.shards.iter() {
                let count = tokens * table.chunks() * 8;
                let params =
                    [count, columns, table.chunks(), table.groups(), shard.rows, shard.first];
                let mut binds =
                    vec![Bind::Read(1, ids), Bind::Raw(2, shard.codes.gpu()), Bind::Write(3, &y)];
                if table.groups() > 0 {
                    binds.push(Bind::Raw(5, shard.scales.gpu()));
                }
                gpu.dispatch(&kernel, &params.map(|value| value as u32), &binds, [count, 1]);
            }
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    let choice = |format: Format| Choice::new("embed", format.to_string(), kernels(format));
    Format::all().into_iter().map(choice).collect()
}

pub(super) fn checks() -> Vec<Check> {
    let whole = formats().into_iter().map(|format| check(format.to_string(), format, 40, 40));
    let parts = shards().map(|(format, shards)| {
        check(format!("{format} in {shards} shards"), format, 32 * (shards - 1) + 9, 32)
    });
    whole.chain(parts).collect()
}

/// Every kernel there is.
#[cfg(test)]
pub(super) fn all_checks() -> Vec<Check> {
    Format::all().into_iter().map(|format| check(format.to_string(), format, 40, 40)).collect()
}

fn check(name: String, format: Format, rows: usize, shard_rows: usize) -> Check {
    Check::new(format!("embed {name}"), move |device| {
        let table = sample_in_shards(device, rows, 200, format, shard_rows);
        let ids = device.upload_u32(&[6], vec![0, rows as u32 - 1, 7, 7, 31, 32]);
        vec![embed(device, &ids, &table)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    #[test]
    fn rows_come_back_in_the_order_of_their_ids() {
        let device = Device::cpu();
        let table = sample_in_shards(&device, 40, 72, Format::F32, 40);
        let ids = device.upload_u32(&[2], vec![39, 1]);
        let values = normal(5, 40 * 72);
        let expected = [&values[39 * 72..], &values[72..144]].concat();
        assert_eq!(embed(&device, &ids, &table).f32s(), expected);
    }
}
