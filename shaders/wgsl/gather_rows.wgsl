// y[i, :] = x[ids[i], :].

struct Params {
    count: u32,      // elements of y
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [R, columns]
@group(0) @binding(2) var<storage, read> ids: array<u32>;             // [I]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [I, columns]

#include "grid.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = grid_index(workgroup, grid) * WG + lane;
    if (at < params.count) {
        y[at] = x[ids[at / params.columns] * params.columns + at % params.columns];
    }
}
