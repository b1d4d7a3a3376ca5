//! Features in place of the tokens that stand for them.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 4] = Kernel::new("place_rows", Geometry::rows(WG)).for_rows();

/// Numbers are copied; that features take the place of rows is not known from shapes.
fn analysis(x: &[usize], ids: &[usize]) -> Analysis {
    Analysis::writes(x).reads([x, ids])
}

/// `[R, C]`: `x: [R, C]` whose rows at `ids: [R]` equal to `token` are replaced by the rows of
/// `features: [F, C]` in their order, as torch's `masked_scatter` does.
///
/// Tokens beyond the features keep their rows: a token for an image that a model writes itself
/// stands for nothing.
pub fn place_rows(
    device: &Device,
    x: &Tensor,
    ids: &Tensor,
    token: u32,
    features: &Tensor,
) -> Tensor {
    let (rows, columns) = (x.rows(), x.columns());
    assert_eq!((ids.count(), features.columns()), (rows, columns));
    let shapes = [x, ids, features].map(Tensor::shape);
    let shape = device.call("place_rows", &shapes, analysis(x.shape(), ids.shape()));
    match device {
        Device::Cpu(_) => {
            let mut values = x.f32s().to_vec();
            let places = values.chunks_exact_mut(columns).zip(ids.u32s());
            let places = places.filter(|(_, id)| **id == token).map(|(row, _)| row);
            for (row, feature) in places.zip(features.f32s().chunks_exact(columns)) {
                row.copy_from_slice(feature);
            }
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [Input::Floats(x), Input::Indices(ids), Input::Floats(features)];
                return on_host(gpu, "place_rows", &inputs, y, move |cpu, x, _| {
                    place_rows(cpu, &x[0], &x[1], token, &x[2])
                });
            };
            let params = [rows as u32, columns as u32, features.rows() as u32, token];
            let binds =
                [Bind::Read(1, x), Bind::Read(2, ids), Bind::Read(3, features), Bind::Write(4, &y)];
            gpu.dispatch(&kernel, &params, &binds, [rows, 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("place_rows", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    let check = |name: &str, features: usize| {
        Check::new(name, move |device| {
            // Rows beyond a workgroup's width, so that counting takes several sweeps.
            let x = device.upload(&[2, 75, 70], normal(1, 150 * 70));
            let ids = (0..150).map(|i| if i % 3 == 1 { 7 } else { i }).collect();
            let features = device.upload(&[features, 70], normal(2, features * 70));
            vec![place_rows(device, &x, &device.upload_u32(&[2, 75], ids), 7, &features)]
        })
    };
    vec![check("place_rows", 50), check("place_rows with too few", 11)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_fill_their_places_in_order() {
        let x = Tensor::from_f32(&[2, 2, 1], vec![1.0, 2.0, 3.0, 4.0]);
        let ids = Tensor::from_u32(&[2, 2], vec![9, 5, 9, 9]);
        let features = Tensor::from_f32(&[2, 1], vec![-1.0, -2.0]);
        let y = place_rows(&Device::cpu(), &x, &ids, 9, &features);
        assert_eq!(y.f32s(), [-1.0, 2.0, -2.0, 4.0]);
    }
}
