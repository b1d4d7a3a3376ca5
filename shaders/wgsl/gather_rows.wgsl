// y[i, :] = x[ids[i], :].

struct Params {
    count: u32,      // elements of y
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [R, columns]
@group(0) @binding(2) var<storage, read> ids: array<u32>;             // [I]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [I, columns]

#include "elements.wgsl"

fn compute_element(at: u32) {
    y[at] = x[ids[at / params.columns] * params.columns + at % params.columns];
}
