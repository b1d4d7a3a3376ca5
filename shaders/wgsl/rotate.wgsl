// Turns blocks of neighbouring numbers by a Hadamard matrix (Sylvester's), which is its own inverse.

struct Params {
    count: u32,
    block: u32,   // numbers of a block, a power of two
    scale: f32,   // 1 / √block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

#include "elements.wgsl"

fn compute_element(at: u32) {
    let own = at % params.block;
    var sum = 0.0;
    for (var i = 0u; i < params.block; i++) {
        let value = x[at - own + i];
        sum += select(value, -value, countOneBits(own & i) % 2u == 1u);
    }
    y[at] = sum * params.scale;
}
