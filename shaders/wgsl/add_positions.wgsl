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

#include "grid.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = grid_index(workgroup, grid) * WG + lane;
    if (at < params.count) {
        let position = step[0] + at / params.columns % params.tokens;
        y[at] = x[at] + table[position * params.columns + at % params.columns];
    }
}
