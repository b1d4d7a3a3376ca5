// y[r, c] = x[r, c], and 0 for the columns that x lacks.

struct Params {
    count: u32,      // elements of y
    columns: u32,    // of x
    padded: u32,     // of y
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [R, columns]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [R, padded]

#include "elements.wgsl"

fn compute_element(at: u32) {
    let column = at % params.padded;
    var value = 0.0;
    if (column < params.columns) {
        value = x[at / params.padded * params.columns + column];
    }
    y[at] = value;
}
