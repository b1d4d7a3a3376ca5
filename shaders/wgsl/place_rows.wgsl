// y[r, :] = features[n, :] where ids[r] is the n-th token of its kind and there are that many
// features, x[r, :] elsewhere; one workgroup a row, which counts the tokens before it.

struct Params {
    rows: u32,
    columns: u32,
    features: u32,   // rows of features
    token: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [rows, columns]
@group(0) @binding(2) var<storage, read> ids: array<u32>;             // [rows]
@group(0) @binding(3) var<storage, read> features: array<f32>;        // [features, columns]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [rows, columns]

#include "rows.wgsl"

fn compute_row(row: u32, lane: u32, size: u32) {
    var before = 0.0;
    for (var i = lane; i < row; i += WG) {
        before += select(0.0, 1.0, ids[i] == params.token);
    }
    // Counts of tokens are far below 2²⁴ and thus exact in f32.
    let n = u32(reduce_sum(before, lane, size));
    if (ids[row] == params.token && n < params.features) {
        for (var c = lane; c < params.columns; c += WG) {
            y[row * params.columns + c] = features[n * params.columns + c];
        }
    } else {
        for (var c = lane; c < params.columns; c += WG) {
            y[row * params.columns + c] = x[row * params.columns + c];
        }
    }
}
