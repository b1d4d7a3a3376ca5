// y[b, c] = Σₜ mask[b, t] · x[b, t, c] / max(Σₜ mask[b, t], 1e-9), then divided by its row's length
// when NORMALISE is set; one workgroup a row.

struct Params {
    rows: u32,       // B
    tokens: u32,     // T
    columns: u32,    // C
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [B, T, C]
@group(0) @binding(2) var<storage, read> mask: array<f32>;            // [B, T]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [B, C]

#include "rows.wgsl"

fn compute_row(row: u32, lane: u32, size: u32) {
    var weight = 0.0;
    for (var t = 0u; t < params.tokens; t++) {
        weight += mask[row * params.tokens + t];
    }
    weight = 1.0 / max(weight, 1e-9);
    var squares = 0.0;
    for (var c = lane; c < params.columns; c += WG) {
        var sum = 0.0;
        for (var t = 0u; t < params.tokens; t++) {
            let token = row * params.tokens + t;
            sum += mask[token] * x[token * params.columns + c];
        }
        squares += sum * weight * sum * weight;
        y[row * params.columns + c] = sum * weight;
    }
#if NORMALISE
    let length = 1.0 / max(sqrt(reduce_sum(squares, lane, size)), 1e-12);
    for (var c = lane; c < params.columns; c += WG) {
        y[row * params.columns + c] *= length;
    }
#endif
}
