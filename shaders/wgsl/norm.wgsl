// y = (x − mean) / √(variance + eps) · weight + bias over rows; one workgroup a row. With RMS the mean
// is taken for zero, and there is no bias.

struct Params {
    rows: u32,
    columns: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [R, C]
@group(0) @binding(2) var<storage, read> weight: array<f32>;          // [C]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [R, C]
#if RMS == 0
@group(0) @binding(4) var<storage, read> bias: array<f32>;            // [C]
#endif

#include "rows.wgsl"

fn compute_row(row: u32, lane: u32, size: u32) {
    let columns = params.columns;
    let base = row * columns;
#if RMS
    let mean = 0.0;
#else
    var sum = 0.0;
    for (var c = lane; c < columns; c += WG) {
        sum += x[base + c];
    }
    let mean = reduce_sum(sum, lane, size) / f32(columns);
#endif
    var squares = 0.0;
    for (var c = lane; c < columns; c += WG) {
        let delta = x[base + c] - mean;
        squares += delta * delta;
    }
    let scale = 1.0 / sqrt(reduce_sum(squares, lane, size) / f32(columns) + params.eps);
    for (var c = lane; c < columns; c += WG) {
        let normed = (x[base + c] - mean) * scale * weight[c];
#if RMS
        y[base + c] = normed;
#else
        y[base + c] = normed + bias[c];
#endif
    }
}
