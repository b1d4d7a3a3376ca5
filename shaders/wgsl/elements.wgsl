// The entry of kernels that give an invocation an element of `params.count`: compute_element(at).

#include "grid.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = grid_index(workgroup, grid) * WG + lane;
    if (at < params.count) {
        compute_element(at);
    }
}
