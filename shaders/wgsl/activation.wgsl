// y = f(x), element by element; KIND is 0 gelu, 1 gelu by tanh, 2 quick gelu, 3 silu, 4 relu, 5 tanh, 6 sigmoid.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [count]

#include "activate.wgsl"
#include "elements.wgsl"

fn compute_element(at: u32) {
    y[at] = activate(x[at]);
}
