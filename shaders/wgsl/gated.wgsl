// y = f(gate) · up, element by element; KIND as in activate.wgsl.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;            // [count]
@group(0) @binding(2) var<storage, read> up: array<f32>;              // [count]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [count]

#include "activate.wgsl"
#include "elements.wgsl"

fn compute_element(at: u32) {
    y[at] = activate(gate[at]) * up[at];
}
