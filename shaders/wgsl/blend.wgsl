// y = σ(gate) · a + (1 − σ(gate)) · b.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;               // [count]
@group(0) @binding(2) var<storage, read> b: array<f32>;               // [count]
@group(0) @binding(3) var<storage, read> gate: array<f32>;            // [count]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [count]

#include "elements.wgsl"

fn compute_element(at: u32) {
    // exp is only promised away from the ends of its range, hence the clamp.
    y[at] = b[at] + (a[at] - b[at]) / (1.0 + exp(-clamp(gate[at], -80.0, 80.0)));
}
