//! Tensors side by side, and a part of one: both copy a part of each row into a part of each row.

use super::{
    Check, Choice, WG,
    host::{Input, write_on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 1] = [Kernel::new("copy_columns", Geometry::elements(WG))];

/// Numbers are copied, those of a part that repeats as often as it does.
fn analysis(output: &[usize]) -> Analysis {
    Analysis::writes(output).reads([output])
}

/// Tensors behind one another along `axis`; they agree in all others. A part of fewer rows before
/// `axis` repeats: a class token `[1, 1, C]` joins patches `[B, T, C]`.
pub fn concat(device: &Device, parts: &[&Tensor], axis: usize) -> Tensor {
    if let [part] = parts {
        return (*part).clone();
    }
    let mut shape =
        parts.iter().max_by_key(|part| outer(part, axis)).expect("a part").shape().to_vec();
    let rows: usize = shape[..axis].iter().product();
    for part in parts {
        assert_eq!(part.shape()[axis + 1..], shape[axis + 1..], "axis {axis}");
        assert!(outer(part, axis) == rows || outer(part, axis) == 1, "{:?}", part.shape());
    }
    shape[axis] = parts.iter().map(|part| part.shape()[axis]).sum();
    let columns = shape[axis..].iter().product();
    let shapes: Vec<&[usize]> = parts.iter().map(|part| part.shape()).collect();
    let shape = device.call("concat", &shapes, analysis(&shape));
    let mut y = Target::new(device, shape, columns);
    let mut first = 0;
    for part in parts {
        let (part_rows, stride) = (outer(part, axis), part.count() / outer(part, axis));
        y.copy(part, Part { rows: part_rows, stride, first: 0 }, stride, first);
        first += stride;
    }
    y.finish()
}

/// `len` of `x` from `start` along `axis`.
pub fn narrow(device: &Device, x: &Tensor, axis: usize, start: usize, len: usize) -> Tensor {
    let mut shape = x.shape().to_vec();
    assert!(start + len <= shape[axis] && len > 0);
    if len == shape[axis] {
        return x.clone();
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let part = Part { rows: outer(x, axis), stride: shape[axis] * inner, first: start * inner };
    shape[axis] = len;
    let shape = device.call("narrow", &[x.shape()], analysis(&shape));
    let mut y = Target::new(device, shape, len * inner);
    y.copy(x, part, len * inner, 0);
    y.finish()
}

/// Product of the axes before `axis`.
fn outer(x: &Tensor, axis: usize) -> usize {
    x.shape()[..axis].iter().product()
}

/// Rows of `stride` elements, each read from `first` on.
#[derive(Clone, Copy)]
struct Part {
    rows: usize,
    stride: usize,
    first: usize,
}

/// A tensor that is being put together.
struct Target<'a> {
    device: &'a Device,
    shape: Vec<usize>,
    columns: usize,
    cpu: Vec<f32>,
    gpu: Option<Tensor>,
}

impl Target<'_> {
    fn new<'a>(device: &'a Device, shape: Vec<usize>, columns: usize) -> Target<'a> {
        let (cpu, gpu) = match device {
            Device::Cpu(_) => (vec![0.0; shape.iter().product()], None),
            Device::Gpu(gpu) => (Vec::new(), Some(gpu.alloc(&shape))),
        };
        Target { device, shape, columns, cpu, gpu }
    }

    /// Fills `columns` of each row from `first` on.
    fn copy(&mut self, x: &Tensor, part: Part, columns: usize, first: usize) {
        let place = [columns, self.columns, first];
        match (self.device, &self.gpu) {
            (Device::Gpu(gpu), Some(y)) => {
                let Some(kernel) = gpu.choose(KERNELS) else {
                    // What earlier copies wrote is read, so that it can be written back.
                    let inputs = [Input::Floats(x), Input::Floats(y)];
                    return write_on_host(gpu, "copy_columns", &inputs, &[y], move |_, x, _| {
                        let mut y = x[1].f32s().to_vec();
                        copy_rows(x[0].f32s(), part, &mut y, place);
                        vec![Tensor::from_f32(x[1].shape(), y)]
                    });
                };
                let count = y.count() / self.columns * columns;
                let params =
                    [count, columns, part.rows, part.stride, part.first, self.columns, first];
                let binds = [Bind::Read(1, x), Bind::Write(2, y)];
                gpu.dispatch(&kernel, &params.map(|n| n as u32), &binds, [count, 1]);
            }
            _ => copy_rows(x.f32s(), part, &mut self.cpu, place),
        }
    }

    fn finish(self) -> Tensor {
        self.gpu.unwrap_or_else(|| Tensor::from_f32(&self.shape, self.cpu))
    }
}

/// Fills `columns` of each row of `y`, which has `stride` of them, from `first` on.
fn copy_rows(x: &[f32], part: Part, y: &mut [f32], [columns, stride, first]: [usize; 3]) {
    for (row, y) in y.chunks_exact_mut(stride).enumerate() {
        let at = row % part.rows * part.stride + part.first;
        y[first..first + columns].copy_from_slice(&x[at..at + columns]);
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("copy_columns", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    let part = |device: &Device, shape: &[usize], seed| {
        device.upload(shape, normal(seed, shape.iter().product()))
    };
    vec![
        Check::new("concat tokens", move |device| {
            let token = part(device, &[1, 1, 9], 1);
            let (a, b) = (part(device, &[3, 5, 9], 2), part(device, &[3, 2, 9], 3));
            vec![concat(device, &[&token, &a, &b], 1)]
        }),
        Check::new("concat columns", move |device| {
            let (a, b) = (part(device, &[7, 11], 2), part(device, &[7, 3], 3));
            vec![concat(device, &[&a, &b], 1)]
        }),
        Check::new("narrow", move |device| {
            let x = part(device, &[3, 7, 9], 1);
            vec![narrow(device, &x, 1, 1, 5), narrow(device, &x, 2, 4, 3)]
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_rows_repeat() {
        let a = Tensor::from_f32(&[1, 1, 2], vec![1.0, 2.0]);
        let b = Tensor::from_f32(&[2, 1, 2], vec![3.0, 4.0, 5.0, 6.0]);
        let y = concat(&Device::cpu(), &[&a, &b], 1);
        assert_eq!(y.shape(), [2, 2, 2]);
        assert_eq!(y.f32s(), [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 5.0, 6.0]);
    }

    #[test]
    fn what_was_joined_comes_apart() {
        let a = Tensor::from_f32(&[2, 2, 1], vec![1.0, 2.0, 3.0, 4.0]);
        let b = Tensor::from_f32(&[2, 1, 1], vec![5.0, 6.0]);
        let y = concat(&Device::cpu(), &[&a, &b], 1);
        assert_eq!(narrow(&Device::cpu(), &y, 1, 0, 2).f32s(), a.f32s());
        assert_eq!(narrow(&Device::cpu(), &y, 1, 2, 1).f32s(), b.f32s());
    }
}
