// y[r, y_first + c] = x[r mod x_rows, x_first + c] for c < columns: a part of each row of x into
// a part of each row of y.

struct Params {
    count: u32,      // elements that are copied
    columns: u32,    // of each row
    x_rows: u32,
    x_stride: u32,   // elements of a row of x
    x_first: u32,
    y_stride: u32,   // elements of a row of y
    y_first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [x_rows, x_stride]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [R, y_stride]

#include "elements.wgsl"

fn compute_element(at: u32) {
    let row = at / params.columns;
    let c = at % params.columns;
    y[row * params.y_stride + params.y_first + c] =
        x[row % params.x_rows * params.x_stride + params.x_first + c];
}
