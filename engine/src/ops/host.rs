//! An op without a working kernel runs on the CPU, in the middle of a pass on the GPU: what it reads
//! is fetched, its CPU path computes, and the result is written where the kernel would have.

use crate::{
    device::{Buffer, Device, Gpu},
    quant::{Matrix, Words},
    tensor::Tensor,
};

/// What an op reads.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// A tensor of f32.
    Floats(&'a Tensor),
    /// A tensor of indices.
    Indices(&'a Tensor),
    /// Packed weights.
    Matrix(&'a Matrix),
}

/// An input, without the numbers on the GPU.
enum Fetch {
    Floats(Vec<usize>),
    Indices(Vec<usize>),
    Matrix(Matrix),
}

/// Records an op whose result is `y`. `run` gets the tensors and the matrices among the inputs, each
/// in their order.
pub(super) fn on_host(
    gpu: &Gpu,
    op: &'static str,
    inputs: &[Input<'_>],
    y: Tensor,
    run: impl Fn(&Device, &[Tensor], &[Matrix]) -> Tensor + 'static,
) -> Tensor {
    write_on_host(gpu, op, inputs, &[&y], move |cpu, tensors, matrices| {
        vec![run(cpu, tensors, matrices)]
    });
    y
}

/// Records an op that writes several tensors, some of which it may have read.
pub(super) fn write_on_host(
    gpu: &Gpu,
    op: &'static str,
    inputs: &[Input<'_>],
    outputs: &[&Tensor],
    run: impl Fn(&Device, &[Tensor], &[Matrix]) -> Vec<Tensor> + 'static,
) {
    let mut reads: Vec<(&Buffer, u64)> = Vec::new();
    let mut fetches = Vec::new();
    for input in inputs {
        match input {
            Input::Floats(tensor) => {
                reads.push((tensor.buffer(), tensor.count() as u64 * 4));
                fetches.push(Fetch::Floats(tensor.shape().to_vec()));
            }
            Input::Indices(tensor) => {
                reads.push((tensor.buffer(), tensor.count() as u64 * 4));
                fetches.push(Fetch::Indices(tensor.shape().to_vec()));
            }
            Input::Matrix(matrix) => {
                for words in matrix.shards.iter().flat_map(|shard| [&shard.codes, &shard.scales]) {
                    if let Words::Gpu(buffer) = words {
                        reads.push((buffer, buffer.capacity()));
                    }
                }
                fetches.push(Fetch::Matrix((*matrix).clone()));
            }
        }
    }
    let writes: Vec<&Buffer> = outputs.iter().map(|tensor| tensor.buffer()).collect();
    let run = move |words: Vec<Vec<u32>>| {
        let mut words = words.into_iter();
        let (mut tensors, mut matrices) = (Vec::new(), Vec::new());
        for fetch in &fetches {
            let mut next = || words.next().expect("every input was fetched");
            match fetch {
                Fetch::Floats(shape) => {
                    tensors.push(Tensor::from_f32(shape, bytemuck::cast_vec(next())));
                }
                Fetch::Indices(shape) => tensors.push(Tensor::from_u32(shape, next())),
                Fetch::Matrix(matrix) => matrices.push(in_main_memory(matrix, next)),
            }
        }
        run(&Device::cpu(), &tensors, &matrices).iter().map(Tensor::words).collect()
    };
    gpu.host(op, &reads, &writes, Box::new(run));
}

/// The matrix with the words that were fetched of it.
fn in_main_memory(matrix: &Matrix, mut next: impl FnMut() -> Vec<u32>) -> Matrix {
    let fetched = |words: &Words| match words {
        Words::Gpu(_) => Words::Cpu(next()),
        // A format without scales has none anywhere.
        Words::Cpu(_) => Words::Cpu(Vec::new()),
    };
    matrix.of_words(fetched)
}
