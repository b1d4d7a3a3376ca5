// y += 1: next to nothing, and nothing that can begin before the last one ended.

@group(0) @binding(1) var<storage, read_write> y: array<u32>;         // [WG]

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
    y[lane] += 1u;
}
