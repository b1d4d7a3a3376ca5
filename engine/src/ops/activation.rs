//! `y = f(x)` and `y = f(gate) · up`, element by element.

use super::{
    Check, Choice, WG,
    exp::exp,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Gpu, Kernel},
    error::{Error, Result},
    tensor::Tensor,
    testing::normal,
    threads,
};
use std::f32::consts::FRAC_1_SQRT_2;

/// What a function takes, in multiplications and additions.
const OPERATIONS: usize = 16;

/// The activations that Hugging Face configurations name; the numbers are the kernels' `KIND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · Φ(x)`.
    Gelu = 0,
    /// GELU by its tanh approximation.
    GeluTanh = 1,
    /// `x · σ(1.702 x)`.
    QuickGelu = 2,
    /// `x · σ(x)`.
    Silu = 3,
    /// `max(x, 0)`.
    Relu = 4,
    /// `tanh(x)`.
    Tanh = 5,
    /// `σ(x)`.
    Sigmoid = 6,
}

impl Activation {
    /// By its name in transformers' `ACT2FN`.
    pub fn named(field: &str, name: &str) -> Result<Activation> {
        match name {
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => {
                Ok(Activation::GeluTanh)
            }
            "quick_gelu" => Ok(Activation::QuickGelu),
            "silu" | "swish" => Ok(Activation::Silu),
            "relu" => Ok(Activation::Relu),
            "tanh" => Ok(Activation::Tanh),
            "sigmoid" => Ok(Activation::Sigmoid),
            other => Err(Error::config(field, format!("unknown activation {other:?}"))),
        }
    }

    /// `f` of each number: one loop for each function, which vectorises.
    fn each(self, numbers: &mut [f32]) {
        match self {
            Activation::Gelu => each(numbers, |x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))),
            // 1 + tanh(a) is twice the sigmoid of 2 a.
            Activation::GeluTanh => {
                each(numbers, |x| x * sigmoid(1.595_769 * (x + 0.044_715 * x * x * x)));
            }
            Activation::QuickGelu => each(numbers, |x| x * sigmoid(1.702 * x)),
            Activation::Silu => each(numbers, |x| x * sigmoid(x)),
            Activation::Relu => each(numbers, |x| x.max(0.0)),
            Activation::Tanh => each(numbers, f32::tanh),
            Activation::Sigmoid => each(numbers, sigmoid),
        }
    }
}

impl Activation {
    /// The slope of `f`.
    fn slope(self, x: f32) -> f32 {
        // Of x · σ(a), where a changes by `by` as x does.
        let swish = |a: f32, by: f32| {
            let s = sigmoid(a);
            s + x * s * (1.0 - s) * by
        };
        match self {
            Activation::Gelu => {
                let density = exp(-0.5 * x * x) * FRAC_1_SQRT_2 / std::f32::consts::PI.sqrt();
                0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density
            }
            Activation::GeluTanh => {
                let a = 1.595_769 * (x + 0.044_715 * x * x * x);
                swish(a, 1.595_769 * (1.0 + 3.0 * 0.044_715 * x * x))
            }
            Activation::QuickGelu => swish(1.702 * x, 1.702),
            Activation::Silu => swish(x, 1.0),
            Activation::Relu => f32::from(u8::from(x > 0.0)),
            Activation::Tanh => 1.0 - x.tanh().powi(2),
            Activation::Sigmoid => sigmoid(x) * (1.0 - sigmoid(x)),
        }
    }
}

#[inline(always)]
fn each(numbers: &mut [f32], f: impl Fn(f32) -> f32) {
    numbers.iter_mut().for_each(|x| *x = f(*x));
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function, Abramowitz and Stegun 7.1.26: within 1.5e-7, f32's own resolution around 1.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let poly = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t
        + 0.254_829_6)
        * t;
    (1.0 - poly * exp(-a * a)).copysign(x)
}

fn kernels(source: &'static str, f: Activation) -> [Kernel; 1] {
    [Kernel::new(source, Geometry::elements(WG)).with("KIND", f as u32)]
}

/// A function of each number.
fn analysis(x: &[usize]) -> Analysis {
    Analysis::writes(x).reads([x]).operations_each(1)
}

/// A function of each number and a product.
fn gated_analysis(x: &[usize]) -> Analysis {
    Analysis::writes(x).reads([x, x]).operations_each(2)
}

/// `f(x)`.
pub fn activation(device: &Device, x: &Tensor, f: Activation) -> Tensor {
    let shape = device.call("activation", &[x.shape()], analysis(x.shape()));
    match device {
        Device::Cpu(_) => {
            let mut values = x.f32s().to_vec();
            threads::rows(&mut values, 1, OPERATIONS, |_, values| f.each(values));
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(kernels("activation", f)) else {
                return on_host(gpu, "activation", &[Input::Floats(x)], y, move |cpu, x, _| {
                    activation(cpu, &x[0], f)
                });
            };
            let count = x.count();
            let binds = [Bind::Read(1, x), Bind::Write(2, &y)];
            gpu.dispatch(&kernel, &[count as u32], &binds, [count, 1]);
            y
        }
    }
}

/// `f(gate) · up`.
pub fn gated(device: &Device, gate: &Tensor, up: &Tensor, f: Activation) -> Tensor {
    assert_eq!(gate.shape(), up.shape());
    let shape = device.call("gated", &[gate.shape(), up.shape()], gated_analysis(gate.shape()));
    match device {
        Device::Cpu(_) => {
            let (mut values, up) = (gate.f32s().to_vec(), up.f32s());
            threads::rows(&mut values, 1, OPERATIONS, |first, values| {
                f.each(values);
                values.iter_mut().zip(&up[first..]).for_each(|(value, up)| *value *= up);
            });
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(kernels("gated", f)) else {
                let inputs = [Input::Floats(gate), Input::Floats(up)];
                return on_host(gpu, "gated", &inputs, y, move |cpu, x, _| {
                    gated(cpu, &x[0], &x[1], f)
                });
            };
            dispatch_gated(gpu, &kernel, [gate, up, &y], [gate.count(), gate.count(), 0]);
            y
        }
    }
}

/// [`gated`] of the two halves of the last axis.
pub fn gate_halves(device: &Device, x: &Tensor, f: Activation) -> Tensor {
    let half = x.columns() / 2;
    let shape = [&x.shape()[..x.shape().len() - 1], &[half]].concat();
    let shape = device.call("gated", &[x.shape()], gated_analysis(&shape));
    match device {
        Device::Cpu(_) => {
            let of = x;
            let x = x.f32s();
            let mut values = vec![0.0; x.len() / 2];
            threads::rows(&mut values, half, half * OPERATIONS, |first, values| {
                let rows = x[2 * half * first..].chunks_exact(2 * half);
                for (row, values) in rows.zip(values.chunks_exact_mut(half)) {
                    let (gate, up) = row.split_at(half);
                    values.copy_from_slice(gate);
                    f.each(values);
                    values.iter_mut().zip(up).for_each(|(value, up)| *value *= up);
                }
            });
            let y = Tensor::from_f32(&shape, values);
            if let Some(tape) = device.tape() {
                let of = of.clone();
                tape.note(&y, move |dy, to| to.add(&of, gate_halves_back(of.f32s(), half, f, dy)));
            }
            y
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(kernels("gated", f)) else {
                return on_host(gpu, "gated", &[Input::Floats(x)], y, move |cpu, x, _| {
                    gate_halves(cpu, &x[0], f)
                });
            };
            dispatch_gated(gpu, &kernel, [x, x, &y], [half, 2 * half, half]);
            y
        }
    }
}

/// The gradient of `x` from that of [`gate_halves`].
fn gate_halves_back(x: &[f32], half: usize, f: Activation, dy: &[f32]) -> Vec<f32> {
    let mut dx = vec![0.0; x.len()];
    threads::rows(&mut dx, 2 * half, 2 * half * OPERATIONS, |first, dx| {
        let rows = x[2 * half * first..].chunks_exact(2 * half);
        let rows = rows.zip(dy[half * first..].chunks_exact(half));
        for (dx, (x, dy)) in dx.chunks_exact_mut(2 * half).zip(rows) {
            let ((gate, up), (d_gate, d_up)) = (x.split_at(half), dx.split_at_mut(half));
            d_up.copy_from_slice(gate);
            f.each(d_up);
            d_up.iter_mut().zip(dy).for_each(|(d_up, dy)| *d_up *= dy);
            for (((d_gate, gate), up), dy) in d_gate.iter_mut().zip(gate).zip(up).zip(dy) {
                *d_gate = f.slope(*gate) * up * dy;
            }
        }
    });
    dx
}

fn dispatch_gated(gpu: &Gpu, kernel: &Kernel, [gate, up, y]: [&Tensor; 3], sizes: [usize; 3]) {
    let [columns, stride, first_up] = sizes;
    let params = [y.count(), columns, stride, first_up].map(|n| n as u32);
    let binds = [Bind::Read(1, gate), Bind::Read(2, up), Bind::Write(3, y)];
    gpu.dispatch(kernel, &params, &binds, [y.count(), 1]);
}

const ALL: [Activation; 7] = [
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Silu,
    Activation::Relu,
    Activation::Tanh,
    Activation::Sigmoid,
];

/// Numbers around zero, and apart from them, so that they are not lost beside them, numbers at both
/// ends of every activation.
fn numbers(device: &Device, seed: u64) -> [Tensor; 2] {
    let near = normal(seed, 150).iter().map(|x| x * 4.0).collect();
    let far = [0.0, 100.0, -100.0, 1e4, -1e4, 1e-6, -1e-6];
    [device.upload(&[150], near), device.upload(&[7], far.to_vec())]
}

pub(super) fn choices() -> Vec<Choice> {
    let of = |source| ALL.map(|f| Choice::new(source, format!("{f:?}"), kernels(source, f)));
    [of("activation"), of("gated")].concat()
}

pub(super) fn checks() -> Vec<Check> {
    let one = ALL.map(|f| {
        Check::new(format!("activation {f:?}"), move |device| {
            numbers(device, 1).map(|x| activation(device, &x, f)).into()
        })
    });
    let two = ALL.map(|f| {
        Check::new(format!("gated {f:?}"), move |device| {
            let pairs = numbers(device, 1).into_iter().zip(numbers(device, 2));
            pairs.map(|(gate, up)| gated(device, &gate, &up, f)).collect()
        })
    });
    let halves = Check::new("gated halves", |device| {
        let x = device.upload(&[3, 50], normal(3, 150));
        vec![gate_halves(device, &x, Activation::Silu)]
    });
    one.into_iter().chain(two).chain([halves]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Their definitions in f64 (Python's `math`) at −3, −0.5, 0.25 and 2.
    #[test]
    fn activations_equal_their_definitions() {
        let x = Tensor::from_f32(&[4], vec![-3.0, -0.5, 0.25, 2.0]);
        let expected: [[f64; 4]; 7] = [
            [-0.004049694, -0.154268769, 0.149676581, 1.954499736],
            [-0.003637392, -0.154285990, 0.149675351, 1.954597694],
            [-0.018071310, -0.149611563, 0.151199650, 1.935658623],
            [-0.142277620, -0.188770334, 0.140544125, 1.761594156],
            [0.000000000, 0.000000000, 0.250000000, 2.000000000],
            [-0.995054754, -0.462117157, 0.244918662, 0.964027580],
            [0.047_425_87, 0.377_540_7, 0.562_176_5, 0.880_797_1],
        ];
        for (f, expected) in ALL.into_iter().zip(expected) {
            let y = activation(&Device::cpu(), &x, f);
            for (got, want) in y.f32s().iter().zip(expected) {
                assert!((f64::from(*got) - want).abs() < 1e-6, "{f:?}: {got} for {want}");
            }
        }
    }

    #[test]
    fn unknown_activations_are_named() {
        let error = Activation::named("hidden_act", "mish").unwrap_err();
        assert_eq!(error.to_string(), "config.json, hidden_act: unknown activation \"mish\"");
    }

    #[test]
    fn the_gradient_of_a_gate_is_the_slope() {
        for f in ALL {
            let x = normal(1, 3 * 16);
            crate::device::check_gradients(&[(&[3, 16], x)], |device, x| {
                gate_halves(device, &x[0], f)
            });
        }
    }
}
