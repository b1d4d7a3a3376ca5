//! Products with packed weights: one row, as a step of decoding has it, few rows, and as many as a prompt,
//! a picture or a recording has.

use super::{Bench, Calls, Subject, numbers, spread};
use crate::{
    device::Device,
    ops::{Activation, Projection, matmul, project},
    quant::{Format, Layout, Matrix, MatrixBuilder, PackedRows},
    tensor::Tensor,
};
use record::{BenchRow, Bits};

/// What stands around a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    Nothing,
    /// An RMS norm before it.
    Norm,
    /// An RMS norm before it, and half of its rows are the gate of the others.
    NormAndGate,
    /// Something is added to it.
    Addend,
}
use Around::{Addend, Norm, NormAndGate, Nothing};

/// A product of a published model, or a square one: whose it is, `[N, K]`, and a call for each of these
/// numbers of rows.
type Product = (&'static str, [usize; 2], Around, &'static [usize]);

const FEW: &[usize] = &[2, 4, 8, 16, 64];
const PRODUCTS: &[Product] = &[
    ("square", [2048, 2048], Nothing, &[1]),
    ("square", [4096, 4096], Nothing, &[1]),
    ("square", [16_384, 16_384], Nothing, &[1]),
    ("SmolLM2-135M gate and up", [3072, 576], NormAndGate, &[1]),
    ("SmolLM2-135M down", [576, 1536], Addend, &[1]),
    ("TinyLlama q, k and v", [2560, 2048], Norm, &[1]),
    ("TinyLlama output", [2048, 2048], Addend, &[1]),
    ("TinyLlama gate and up", [11_264, 2048], NormAndGate, &[1]),
    ("TinyLlama down", [2048, 5632], Addend, &[1]),
    ("TinyLlama head", [32_000, 2048], Nothing, &[1]),
    ("Llama-2-7B q, k and v", [12_288, 4096], Norm, &[1]),
    ("Llama-2-7B gate and up", [22_016, 4096], NormAndGate, &[1]),
    ("Llama-2-7B down", [4096, 11_008], Addend, &[1]),
    ("TinyLlama gate and up", [11_264, 2048], Nothing, FEW),
    ("TinyLlama prompt", [2048, 2048], Nothing, &[128, 512]),
    ("BERT and ViT inner", [3072, 768], Nothing, &[128, 512]),
    ("Whisper base encoder", [512, 512], Nothing, &[1500]),
];
/// What a software adapter does in seconds.
const QUICK: &[Product] = &[
    ("square", [1024, 1024], Nothing, &[1, 16]),
    ("SmolLM2-135M gate and up", [3072, 576], NormAndGate, &[1]),
    ("SmolLM2-135M down", [576, 1536], Addend, &[1]),
    ("MiniLM inner", [1536, 384], Nothing, &[128]),
];

/// Rows of weights whose products are judged.
const JUDGED: usize = 16;
/// Rows of `x` from which the time is arithmetic's, and more than a few copies would change nothing.
const MANY: usize = 64;
const FEW_COPIES: usize = 8;
const EPS: f32 = 1e-5;
const SEED: u64 = 20_261_128;

pub(super) async fn measure(bench: &mut Bench<'_>) {
    let products = if bench.quick { QUICK } else { PRODUCTS };
    for product in products {
        for (bits, format) in bench.formats() {
            if bench.wants(op(product)) {
                of_format(bench, product, bits, format).await;
            }
        }
    }
}

fn op((_, _, around, _): &Product) -> &'static str {
    if *around == Nothing { "matmul" } else { "project" }
}

async fn of_format(bench: &mut Bench<'_>, product: &Product, bits: Bits, format: Format) {
    let &(who, [n, k], around, rows) = product;
    let bytes = Layout::Chunks.bytes(format, n, k);
    let mut left: Vec<(usize, BenchRow)> = rows
        .iter()
        .map(|m| {
            let rows = if *m == 1 { "1 row".to_owned() } else { format!("{m} rows") };
            let row = BenchRow {
                op: op(product).to_owned(),
                call: format!("{who}, {rows}"),
                shape: format!("{m}×{k}×{n}"),
                format: format.to_string(),
                bits: Some(bits),
                ..BenchRow::default()
            };
            (*m, row)
        })
        .collect();
    let Some(copies) = bench.copies(bytes) else {
        let why = format!("its weights take {bytes} bytes, more than a page has room for");
        left.drain(..).for_each(|(_, row)| bench.skip(row, why.clone()));
        return;
    };
    // The weights are made only for who has time to use them.
    left.retain(|(_, row)| !bench.is_late(row));
    if left.is_empty() {
        return;
    }
    let weights = matrices(bench.device, [n, k], format, copies);
    for (m, row) in left {
        of_rows(bench, &weights, around, m, row).await;
    }
}

async fn of_rows(
    bench: &mut Bench<'_>,
    weights: &[Matrix],
    around: Around,
    m: usize,
    row: BenchRow,
) {
    let Matrix { rows: n, columns: k, format, .. } = weights[0];
    let weights = if m < MANY { weights } else { &weights[..weights.len().min(FEW_COPIES)] };
    let outputs = if around == NormAndGate { n / 2 } else { n };
    let picks = spread(outputs, JUDGED);
    let (x, norm, addend) = (numbers(7, m * k), numbers(8, k), numbers(9, m * outputs));
    let run = |device: &Device, w: &Matrix, [x, norm, addend]: [&Tensor; 3]| {
        let plain = Projection::default();
        let how = match around {
            Nothing => return matmul(device, x, w, None),
            Norm => Projection { norm: Some((norm, EPS)), ..plain },
            NormAndGate => {
                Projection { norm: Some((norm, EPS)), gate: Some(Activation::Silu), ..plain }
            }
            Addend => Projection { addend: Some(addend), ..plain },
        };
        project(device, x, w, how)
    };
    let sample = |all: &[f32]| {
        let rows = all.chunks_exact(outputs);
        rows.flat_map(|row| picks.iter().map(|pick| row[*pick])).collect::<Vec<f32>>()
    };
    let expected = || {
        let device = Device::reference();
        let halves =
            (0..n / outputs).flat_map(|half| picks.iter().map(move |at| half * outputs + at));
        let rows: Vec<usize> = halves.collect();
        let mut builder = MatrixBuilder::new(&device, "sample", rows.len(), k, format);
        builder.push(&PackedRows::seeded(format, k, SEED, rows.into_iter()));
        let addend = device.upload(&[m, picks.len()], sample(&addend));
        let [x, norm] =
            [(m, &x), (1, &norm)].map(|(m, values)| device.upload(&[m, k], values.clone()));
        run(&device, &builder.finish(), [&x, &norm, &addend])
    };
    let device = bench.device;
    let inputs = [(m, k, &x), (1, k, &norm), (m, outputs, &addend)]
        .map(|(rows, columns, values)| device.keep(&[rows, columns], values.clone()));
    let call = |at: usize| run(device, &weights[at], inputs.each_ref());
    let copied_bytes = weights.iter().map(Matrix::bytes).sum();
    let row = BenchRow { copies: weights.len() as u32, copied_bytes, ..row };
    let calls = Calls { count: weights.len(), call: &call };
    bench.measure(Subject { row, calls, expected: &expected, sample: &sample }).await;
}

/// The same random weights several times, at as many places in memory.
fn matrices(device: &Device, [n, k]: [usize; 2], format: Format, copies: usize) -> Vec<Matrix> {
    let builder = || MatrixBuilder::new(device, "random weights", n, k, format);
    let mut builders: Vec<MatrixBuilder<'_>> = (0..copies).map(|_| builder()).collect();
    let mut done = 0;
    while done < n {
        let piece = builders[0].piece_rows();
        let packed = PackedRows::seeded(format, k, SEED, done..done + piece);
        builders.iter_mut().for_each(|builder| builder.push(&packed));
        done += piece;
    }
    builders.into_iter().map(MatrixBuilder::finish).collect()
}
