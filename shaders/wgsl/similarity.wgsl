// y[m, n] = scale · Σ a[m, :] · b[n, :].

struct Params {
    count: u32,      // elements of y
    b_rows: u32,
    columns: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;               // [M, columns]
@group(0) @binding(2) var<storage, read> b: array<f32>;               // [b_rows, columns]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [M, b_rows]

#include "grid.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = grid_index(workgroup, grid) * WG + lane;
    if (at >= params.count) {
        return;
    }
    let m = at / params.b_rows;
    let n = at % params.b_rows;
    var sum = 0.0;
    for (var c = 0u; c < params.columns; c++) {
        sum += a[m * params.columns + c] * b[n * params.columns + c];
    }
    y[at] = sum * params.scale;
}
