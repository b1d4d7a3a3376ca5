// What attention_step.wgsl found in the shares of a head's keys, as one: a quad an invocation.

struct Params {
    count: u32,      // B · H · D / 4
    quads: u32,      // D / 4
    splits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> found: array<vec4<f32>>;      // [B, H, splits, D + 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;    // [B, H, D]
#include "elements.wgsl"

fn compute_element(at: u32) {
    let first = at / params.quads * params.splits;
    let quad = at % params.quads;
    let stride = params.quads + 1u;
    // A share without a key has the largest score that no key has, and a sum of 0.
    var largest = -3.0e38;
    for (var i = first; i < first + params.splits; i++) {
        largest = max(largest, found[i * stride + params.quads].x);
    }
    var total = vec4<f32>(0.0);
    var sum = 0.0;
    for (var i = first; i < first + params.splits; i++) {
        let about = found[i * stride + params.quads];
        let weight = exp(max(about.x - largest, -80.0));
        total += weight * found[i * stride + quad];
        sum += weight * about.y;
    }
    y[at] = total / sum;
}
