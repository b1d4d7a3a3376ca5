//! `y = a + b` and `y = a · b`, element by element, where `b` repeats along the outer axes of `a`.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
    threads,
};

/// Adds; the shape of `b` is that of `a`, or of its last axes.
pub fn add(device: &Device, a: &Tensor, b: &Tensor) -> Tensor {
    let y = binary(device, a, b, false, |a, b| a + b);
    if let Some(tape) = device.tape() {
        let (a, b) = (a.clone(), b.clone());
        tape.note(&y, move |dy, to| {
            to.add(&b, folded(dy, b.count()));
            to.add(&a, dy.to_vec());
        });
    }
    y
}

/// The sum of all parts of so many numbers.
fn folded(numbers: &[f32], count: usize) -> Vec<f32> {
    let mut sums = vec![0.0; count];
    for part in numbers.chunks_exact(count) {
        sums.iter_mut().zip(part).for_each(|(sum, number)| *sum += number);
    }
    sums
}

/// Multiplies; the shape of `b` is that of `a`, or of its last axes.
pub fn multiply(device: &Device, a: &Tensor, b: &Tensor) -> Tensor {
    binary(device, a, b, true, |a, b| a * b)
}

fn kernels(product: bool) -> [Kernel; 1] {
    [Kernel::new("binary", Geometry::elements(WG)).switched("PRODUCT", product)]
}

/// An operation for each number of `a`.
fn analysis(a: &[usize], b: &[usize]) -> Analysis {
    Analysis::writes(a).reads([a, b]).operations_each(1)
}

fn binary(
    device: &Device,
    a: &Tensor,
    b: &Tensor,
    product: bool,
    on_cpu: fn(f32, f32) -> f32,
) -> Tensor {
    assert_eq!(a.count() % b.count(), 0, "{:?} and {:?}", a.shape(), b.shape());
    let op = if product { "multiply" } else { "add" };
    let shape = device.call(op, &[a.shape(), b.shape()], analysis(a.shape(), b.shape()));
    match device {
        Device::Cpu(_) => {
            let (a, b) = (a.f32s(), b.f32s());
            let repeats = a.len() > b.len();
            let width = if repeats { b.len() } else { 1 };
            let mut values = vec![0.0; a.len()];
            threads::rows(&mut values, width, width, |first, values| {
                let first = first * width;
                let b = if repeats { b } else { &b[first..first + values.len()] };
                let rows = a[first..].chunks(b.len());
                for (a, values) in rows.zip(values.chunks_mut(b.len())) {
                    let results = a.iter().zip(b).map(|(a, b)| on_cpu(*a, *b));
                    values.iter_mut().zip(results).for_each(|(value, result)| *value = result);
                }
            });
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(kernels(product)) else {
                return on_host(
                    gpu,
                    op,
                    &[Input::Floats(a), Input::Floats(b)],
                    y,
                    move |cpu, x, _| binary(cpu, &x[0], &x[1], product, on_cpu),
                );
            };
            let params = [a.count(), b.count()].map(|n| n as u32);
            let binds = [Bind::Read(1, a), Bind::Read(2, b), Bind::Write(3, &y)];
            gpu.dispatch(&kernel, &params, &binds, [a.count(), 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("add", "", kernels(false)), Choice::new("multiply", "", kernels(true))]
}

pub(super) fn checks() -> Vec<Check> {
    type Op = fn(&Device, &Tensor, &Tensor) -> Tensor;
    let check = |name: &str, op: Op, b_shape: &'static [usize]| {
        Check::new(name, move |device| {
            let count = b_shape.iter().product();
            let a = device.upload(&[5, 7, 9], normal(1, 315));
            vec![op(device, &a, &device.upload(b_shape, normal(2, count)))]
        })
    };
    vec![
        check("add", add, &[5, 7, 9]),
        check("add row", add, &[9]),
        check("add table", add, &[7, 9]),
        check("multiply", multiply, &[5, 7, 9]),
        check("multiply row", multiply, &[9]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_repeat() {
        let a = Tensor::from_f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let b = Tensor::from_f32(&[2], vec![10.0, -1.0]);
        assert_eq!(add(&Device::cpu(), &a, &b).f32s(), [11.0, 1.0, 13.0, 3.0]);
        assert_eq!(multiply(&Device::cpu(), &a, &b).f32s(), [10.0, -2.0, 30.0, -4.0]);
    }

    #[test]
    fn the_gradient_of_what_repeats_is_the_sum_of_all() {
        let inputs: [(&[usize], _); 2] = [(&[3, 4], normal(1, 12)), (&[4], normal(2, 4))];
        crate::device::check_gradients(&inputs, |device, x| add(device, &x[0], &x[1]));
    }
}
