// y = exp(x − max) / Σ exp(x − max) over rows; one workgroup a row.
#if SUBGROUPS == 1
enable subgroups;
#endif

struct Params {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [R, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [R, C]

#include "grid.wgsl"
#include "reduce.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
#if SUBGROUPS
    @builtin(subgroup_size) size: u32,
#endif
) {
#if SUBGROUPS == 0
    let size = 1u;
#endif
    let row = grid_index(workgroup, grid);
    if (row >= params.rows) {
        return;
    }
    let base = row * params.columns;
    var largest = -3.0e38;
    for (var c = lane; c < params.columns; c += WG) {
        largest = max(largest, x[base + c]);
    }
    largest = reduce_max(largest, lane, size);
    var sum = 0.0;
    for (var c = lane; c < params.columns; c += WG) {
        sum += exp(max(x[base + c] - largest, -80.0));
    }
    let scale = 1.0 / reduce_sum(sum, lane, size);
    for (var c = lane; c < params.columns; c += WG) {
        y[base + c] = exp(max(x[base + c] - largest, -80.0)) * scale;
    }
}
