// The entry of kernels that give a workgroup a row of `params.rows`: compute_row(row, lane, size),
// with the invocation's place in the workgroup and what reduce.wgsl wants to know of subgroups.

#include "grid.wgsl"
#include "reduce.wgsl"

#if TWO_HIGH
@compute @workgroup_size(WG / 2u, 2)
#else
@compute @workgroup_size(WG)
#endif
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
#if SUBGROUPS
    @builtin(subgroup_size) size: u32,
#endif
) {
    let row = grid_index(workgroup, grid);
    if (row < params.rows) {
#if SUBGROUPS
        compute_row(row, lane, size);
#else
        compute_row(row, lane, 1u);
#endif
    }
}
