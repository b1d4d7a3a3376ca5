// y = x + table, where token t takes the row of its position.

struct Params {
    count: u32,      // B · T · C
    tokens: u32,     // T
    columns: u32,    // C
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [B, T, C]
@group(0) @binding(2) var<storage, read> table: array<f32>;           // [P, C]
@group(0) @binding(3) var<storage, read> step: array<u32>;            // [0]: positions before
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [B, T, C]

#include "elements.wgsl"

fn compute_element(at: u32) {
    let position = step[0] + at / params.columns % params.tokens;
    y[at] = x[at] + table[position * params.columns + at % params.columns];
}
