// y = exp(x − max) / Σ exp(x − max) over rows; one workgroup a row.

struct Params {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [R, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [R, C]

#include "rows.wgsl"

fn compute_row(row: u32, lane: u32, size: u32) {
    let base = row * params.columns;
    var largest = -3.0e38;
    for (var c = lane; c < params.columns; c += WG) {
        largest = max(largest, x[base + c]);
    }
    largest = reduce_max(largest, lane, size);
    var sum = 0.0;
    for (var c = lane; c < params.columns; c += WG) {
        sum += exp(max(x[base + c] - largest, -80.0));
    }
    let scale = 1.0 / reduce_sum(sum, lane, size);
    for (var c = lane; c < params.columns; c += WG) {
        y[base + c] = exp(max(x[base + c] - largest, -80.0)) * scale;
    }
}
