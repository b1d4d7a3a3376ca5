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

// Of a share, or of the last one: loads of four are under way together.
fn part(share: u32, quad: u32, end: u32) -> vec4<f32> {
    return found[min(share, end - 1u) * (params.quads + 1u) + quad];
}
fn about(share: u32, end: u32) -> vec4<f32> {
    return part(share, params.quads, end);
}

fn compute_element(at: u32) {
    let first = at / params.quads * params.splits;
    let quad = at % params.quads;
    // A share without a key has the largest score that no key has, and a sum of 0.
    var largest = -3.0e38;
    let end = first + params.splits;
    for (var i = first; i < end; i += 4u) {
        let tops = vec4<f32>(
            about(i, end).x, about(i + 1u, end).x, about(i + 2u, end).x, about(i + 3u, end).x,
        );
        largest = max(largest, max(max(tops.x, tops.y), max(tops.z, tops.w)));
    }
    var total = vec4<f32>(0.0);
    var sum = 0.0;
    for (var i = first; i < end; i += 4u) {
        let a = about(i, end);
        let b = about(i + 1u, end);
        let c = about(i + 2u, end);
        let d = about(i + 3u, end);
        let weights = exp(max(vec4<f32>(a.x, b.x, c.x, d.x) - largest, vec4<f32>(-80.0)))
            * select(vec4<f32>(0.0), vec4<f32>(1.0), vec4<u32>(i, i + 1u, i + 2u, i + 3u) < vec4<u32>(end));
        total += weights.x * part(i, quad, end) + weights.y * part(i + 1u, quad, end)
            + weights.z * part(i + 2u, quad, end) + weights.w * part(i + 3u, quad, end);
        sum += dot(weights, vec4<f32>(a.y, b.y, c.y, d.y));
    }
    y[at] = total / sum;
}
