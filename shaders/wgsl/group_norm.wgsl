// y = (x − mean) / √(variance + eps) · weight + bias, the statistics over all tokens of a group of
// neighbouring channels; one workgroup a group of a sequence.

struct Params {
    rows: u32,       // B · G
    tokens: u32,     // T
    columns: u32,    // C
    groups: u32,     // G, which divides C
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [B, T, C]
@group(0) @binding(2) var<storage, read> weight: array<f32>;          // [C]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // [C]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [B, T, C]

#include "rows.wgsl"

fn compute_row(row: u32, lane: u32, size: u32) {
    let columns = params.columns;
    let width = columns / params.groups;
    let channel = row % params.groups * width;
    let base = row / params.groups * params.tokens * columns + channel;
    let elements = params.tokens * width;
    var sum = 0.0;
    for (var i = lane; i < elements; i += WG) {
        sum += x[base + i / width * columns + i % width];
    }
    let mean = reduce_sum(sum, lane, size) / f32(elements);
    var squares = 0.0;
    for (var i = lane; i < elements; i += WG) {
        let delta = x[base + i / width * columns + i % width] - mean;
        squares += delta * delta;
    }
    let scale = 1.0 / sqrt(reduce_sum(squares, lane, size) / f32(elements) + params.eps);
    for (var i = lane; i < elements; i += WG) {
        let at = base + i / width * columns + i % width;
        let c = channel + i % width;
        y[at] = (x[at] - mean) * scale * weight[c] + bias[c];
    }
}
