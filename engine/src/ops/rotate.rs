//! Turns each head's numbers by a Hadamard matrix in blocks: a number that dwarfs the others then has its share in
//! all of its block, so that few bits hold them. The matrix is symmetric and orthogonal: products of turned numbers
//! are what they were, and to turn twice is to turn back.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 1] = [Kernel::new("rotate", Geometry::elements(WG))];

/// Numbers of a block at most: those that share a scale.
const MOST: usize = 32;

/// Numbers of a block in heads of `width`: the largest power of two that divides it.
fn block(width: usize) -> usize {
    (1 << width.trailing_zeros()).min(MOST)
}

/// `x: [.., H · D]` with each head of `width` D turned.
pub(super) fn rotate(device: &Device, x: &Tensor, width: usize) -> Tensor {
    let block = block(width);
    let operations = (x.count() * 2 * block) as u64;
    let analysis = Analysis::writes(x.shape()).reads([x.shape()]).operations(operations);
    let shape = device.call("rotate", &[x.shape()], analysis);
    match device {
        Device::Cpu(_) => Tensor::from_f32(&shape, cpu(x.f32s(), block)),
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                return on_host(gpu, "rotate", &[Input::Floats(x)], y, move |_, x, _| {
                    Tensor::from_f32(x[0].shape(), cpu(x[0].f32s(), block))
                });
            };
            let scale = 1.0 / (block as f32).sqrt();
            let params = [x.count() as u32, block as u32, scale.to_bits()];
            let binds = [Bind::Read(1, x), Bind::Write(2, &y)];
            gpu.dispatch(&kernel, &params, &binds, [x.count(), 1]);
            y
        }
    }
}

/// The same of numbers in main memory.
pub(super) fn rotated(x: &[f32], width: usize) -> Vec<f32> {
    cpu(x, block(width))
}

fn cpu(x: &[f32], block: usize) -> Vec<f32> {
    let scale = 1.0 / (block as f32).sqrt();
    let mut y: Vec<f32> = x.iter().map(|x| x * scale).collect();
    for numbers in y.chunks_exact_mut(block) {
        let mut span = 1;
        while span < block {
            for pairs in numbers.chunks_exact_mut(2 * span) {
                let (first, second) = pairs.split_at_mut(span);
                for (a, b) in first.iter_mut().zip(second) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            span *= 2;
        }
    }
    y
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("rotate", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    vec![Check::new("rotate", |device| {
        // Blocks of 32 and of 8.
        [64, 24]
            .map(|width| {
                rotate(device, &device.upload(&[3, 2 * width], normal(1, 6 * width)), width)
            })
            .into()
    })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_divide_a_head() {
        let blocks = [64, 128, 80, 24, 12, 5, 1].map(block);
        assert_eq!(blocks, [32, 32, 16, 8, 4, 1, 1]);
    }

    #[test]
    fn a_single_number_has_its_share_in_all_of_its_block() {
        let mut x = vec![0.0; 64];
        (x[3], x[32]) = (4.0, 8.0);
        let device = Device::cpu();
        let turned = rotate(&device, &Tensor::from_f32(&[1, 64], x.clone()), 64);
        let share = |number: f32| number / 32f32.sqrt();
        for (at, turned) in turned.f32s().iter().enumerate() {
            let wanted = share(if at < 32 { 4.0 } else { 8.0 });
            assert!((turned.abs() - wanted).abs() < 1e-6, "{at}: {turned}");
        }
        // Element (i, j) has the sign of −1 to the number of bits that i and j share.
        assert!(turned.f32s()[1] < 0.0 && turned.f32s()[3] > 0.0 && turned.f32s()[4] > 0.0);
        let back = rotate(&device, &turned, 64);
        assert!(back.f32s().iter().zip(&x).all(|(back, x)| (back - x).abs() < 1e-6));
    }
}
