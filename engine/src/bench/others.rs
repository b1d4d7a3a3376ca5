//! What stands between products: norms, convolutions, sums, spectra. Their inputs were written just before in
//! any pass, so no copies are taken in turn.

use super::{Bench, Calls, Subject, numbers, spread};
use crate::{
    device::Device,
    ops::{self, Activation, Window},
    quant::{MatrixBuilder, PackedRows},
    tensor::Tensor,
};
use record::{BenchRow, Bits};

/// An op over rows: its name, whose call it is, `[rows, columns]`.
type Rows = (&'static str, &'static str, [usize; 2]);

const ROWS: &[Rows] = &[
    ("rms_norm", "TinyLlama, one token", [1, 2048]),
    ("rms_norm", "TinyLlama, a prompt", [512, 2048]),
    ("layer_norm", "ViT, a picture", [197, 768]),
    ("softmax", "rows of scores", [2048, 512]),
    ("activation", "GELU of BERT, a text", [512, 3072]),
    ("add", "TinyLlama, a prompt", [512, 2048]),
];
const QUICK_ROWS: &[Rows] = &[
    ("rms_norm", "SmolLM2-135M, one token", [1, 576]),
    ("layer_norm", "MiniLM, a text", [128, 384]),
    ("softmax", "rows of scores", [128, 128]),
    ("activation", "GELU of MiniLM, a text", [128, 1536]),
    ("add", "MiniLM, a text", [128, 384]),
];

/// Whose convolution it is, `[height, width, channels]`, kernels, and how they move.
type Conv = (&'static str, [usize; 3], usize, Window);

fn convs(quick: bool) -> Vec<Conv> {
    if quick {
        return vec![("ResNet 3 × 3", [14, 14, 64], 64, Window::square(3, 1, 1))];
    }
    vec![
        ("ViT patches", [224, 224, 3], 768, Window::square(16, 16, 0)),
        ("ResNet 3 × 3", [56, 56, 64], 64, Window::square(3, 1, 1)),
        ("Whisper base, first", [1, 3000, 80], 512, Window::line(3, 1, 1)),
    ]
}

/// Calls of a piece.
const CALLS: usize = 16;
/// Channels of a convolution that are judged.
const JUDGED: usize = 8;
const SEED: u64 = 77;

pub(super) async fn measure(bench: &mut Bench<'_>) {
    let rows = if bench.quick { QUICK_ROWS } else { ROWS };
    for &(op, who, [rows, columns]) in rows {
        if bench.wants(op) {
            let row = row(op, who.to_owned(), format!("{rows}×{columns}"));
            let inputs = [[rows, columns], [1, columns], [1, columns]];
            whole(bench, row, &inputs, &|device, inputs| over_rows(device, op, inputs)).await;
        }
    }
    if bench.wants("conv") {
        for conv in convs(bench.quick) {
            of_conv(bench, conv).await;
        }
    }
    if bench.wants("log_mel") {
        #[cfg(feature = "infer")]
        spectra(bench).await;
        #[cfg(not(feature = "infer"))]
        bench.skip(
            row("log_mel", "Whisper".to_owned(), "sound".to_owned()),
            "cells hear no recordings: --ops log_mel loads what does",
        );
    }
}

fn row(op: &str, call: String, shape: String) -> BenchRow {
    BenchRow { op: op.to_owned(), call, shape, copies: 1, ..BenchRow::default() }
}

fn over_rows(device: &Device, op: &str, inputs: &[Tensor]) -> Tensor {
    let [x, weight, bias] = inputs else { unreachable!("three inputs were made") };
    let columns = [x.columns()];
    match op {
        "rms_norm" => ops::rms_norm(device, x, &weight.reshape(&columns), 1e-5),
        "layer_norm" => {
            let [weight, bias] = [weight, bias].map(|input| input.reshape(&columns));
            ops::layer_norm(device, x, &weight, &bias, 1e-5)
        }
        "softmax" => ops::softmax(device, x),
        "activation" => ops::activation(device, x, Activation::Gelu),
        _ => ops::add(device, x, x),
    }
}

/// Measures an op whose whole output is judged.
async fn whole(
    bench: &mut Bench<'_>,
    row: BenchRow,
    shapes: &[[usize; 2]],
    run: &dyn Fn(&Device, &[Tensor]) -> Tensor,
) {
    let inputs_on = |device: &Device| -> Vec<Tensor> {
        let shapes = shapes.iter().zip(1..);
        shapes
            .map(|(shape, seed)| device.upload(shape, numbers(seed, shape[0] * shape[1])))
            .collect()
    };
    let device = bench.device;
    let inputs = inputs_on(device);
    let call = |_| run(device, &inputs);
    let expected = || {
        let device = Device::reference();
        run(&device, &inputs_on(&device))
    };
    let calls = Calls { count: CALLS, call: &call };
    bench.measure(Subject { row, calls, expected: &expected, sample: &<[f32]>::to_vec }).await;
}

/// Of the channels of a convolution some are judged, each over the whole picture.
async fn of_conv(bench: &mut Bench<'_>, (who, [height, width, channels], kernels, window): Conv) {
    let columns = window.kernel[0] * window.kernel[1] * channels;
    let x = numbers(1, height * width * channels);
    let picks = spread(kernels, JUDGED);
    let sample = |all: &[f32]| -> Vec<f32> {
        let pixels = all.chunks_exact(kernels);
        pixels.flat_map(|pixel| picks.iter().map(|pick| pixel[*pick])).collect()
    };
    for (bits, format) in bench.formats() {
        // Its product is one of many rows, and those are measured at every width.
        if !matches!(bits, Bits::Fixed(16 | 4)) {
            continue;
        }
        let run = |device: &Device, kernels: &[usize]| {
            let mut builder =
                MatrixBuilder::new(device, "random kernels", kernels.len(), columns, format);
            builder.push(&PackedRows::seeded(format, columns, SEED, kernels.iter().copied()));
            let x = device.upload(&[1, height, width, channels], x.clone());
            (x, [builder.finish()])
        };
        let device = bench.device;
        let all: Vec<usize> = (0..kernels).collect();
        let (x, kernels) = run(device, &all);
        let call = |_| ops::conv(device, &x, &kernels, None, window);
        let expected = || {
            let device = Device::reference();
            let (x, kernels) = run(&device, &picks);
            ops::conv(&device, &x, &kernels, None, window)
        };
        let shape = format!("{height}×{width}×{channels} by {}", all.len());
        let row = BenchRow {
            format: format.to_string(),
            bits: Some(bits),
            ..row("conv", who.to_owned(), shape)
        };
        let calls = Calls { count: CALLS, call: &call };
        bench.measure(Subject { row, calls, expected: &expected, sample: &sample }).await;
    }
}

/// Half a minute of sound, as Whisper hears it, by each of its kernels.
#[cfg(feature = "infer")]
async fn spectra(bench: &mut Bench<'_>) {
    use crate::{
        device::Terms,
        mel::{Mel, MelShape, Scale},
    };
    let shape = MelShape {
        rate: 16_000,
        window: 400,
        hop: 160,
        bins: 80,
        range: [0.0, 8000.0],
        scale: Scale::Slaney,
        factor: 1.0,
    };
    let seconds = if bench.quick { 2 } else { 30 };
    let row = |call: String| row("log_mel", call, format!("{seconds} s of sound"));
    let mel = match Mel::new(shape) {
        Ok(mel) => mel,
        Err(error) => return bench.skip(row("Whisper".to_owned()), error.to_string()),
    };
    let shapes = [[1, seconds * 16_000]];
    let run = |device: &Device, x: &[Tensor]| ops::log_mel(device, &x[0], &mel);
    let Device::Gpu(gpu) = bench.device else {
        return whole(bench, row("Whisper".to_owned()), &shapes, &run).await;
    };
    let before = gpu.terms().clone();
    // Software adapters have one more, which differs in nothing that a bench shows.
    let kernels = ops::log_mel_kernels(&mel).into_iter();
    for kernel in kernels.filter(|kernel| kernel.value("SOFTWARE") == 0) {
        gpu.set_terms(Terms { favoured: [kernel].into(), ..before.clone() });
        let wide = kernel.geometry.workgroup;
        let size = if kernel.value("TWO_HIGH") == 0 { [wide, 1] } else { [wide / 2, 2] };
        let call = format!("Whisper, workgroups of {} × {}", size[0], size[1]);
        whole(bench, row(call), &shapes, &run).await;
    }
    gpu.set_terms(before);
}
