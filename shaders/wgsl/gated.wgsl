// y = f(gate) · up, element by element; KIND as in activate.wgsl. Both may be parts of the rows of one tensor.

struct Params {
    count: u32,
    columns: u32,   // of y
    stride: u32,    // from a row of gate, and of up, to the next
    first_up: u32,  // in a row
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;            // [rows, stride]
@group(0) @binding(2) var<storage, read> up: array<f32>;              // [rows, stride]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [rows, columns]

#include "activate.wgsl"
#include "elements.wgsl"

fn compute_element(at: u32) {
    let own = at / params.columns * params.stride + at % params.columns;
    y[at] = activate(gate[own]) * up[own + params.first_up];
}
