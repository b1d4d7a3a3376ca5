// A workgroup's number in a grid that was folded because one dimension holds 65,535 workgroups.

fn grid_index(workgroup: vec3<u32>, grid: vec3<u32>) -> u32 {
    return workgroup.x + workgroup.y * grid.x;
}
