// y = x, four words at a time; with READ, y has of each invocation the sum of what it reads: how fast
// memory is. A workgroup has TILE_X neighbouring quads, of which its invocations take turns.

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // [quads]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;   // [quads], or [quads · WG / TILE_X]

#include "grid.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = grid_index(workgroup, grid);
    var sum = vec4<u32>(0u);
    for (var i = lane; i < TILE_X; i += WG) {
        let at = index * TILE_X + i;
        if (at < params.quads) {
#if READ
            sum += x[at];
#else
            y[at] = x[at];
#endif
        }
    }
#if READ
    let at = index * WG + lane;
    if (index * TILE_X < params.quads) {
        y[at] = sum;
    }
#endif
}
