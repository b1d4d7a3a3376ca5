// y = f(x), element by element; KIND is 0 gelu, 1 gelu by tanh, 2 quick gelu, 3 silu, 4 relu, 5 tanh, 6 sigmoid.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [count]

#include "activate.wgsl"
#include "grid.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = grid_index(workgroup, grid) * WG + lane;
    if (at < params.count) {
        y[at] = activate(x[at]);
    }
}
