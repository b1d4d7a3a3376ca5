// y[b, m, n] = scale · Σₖ a[b, m, k] · b[b, n, k].

struct Params {
    count: u32,      // elements of y
    m: u32,
    n: u32,
    columns: u32,    // K
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;               // [B, M, K]
@group(0) @binding(2) var<storage, read> b: array<f32>;               // [B, N, K]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [B, M, N]

#include "elements.wgsl"

fn compute_element(at: u32) {
    let a_base = at / params.n * params.columns;
    let b_base = (at / (params.n * params.m) * params.n + at % params.n) * params.columns;
    var sum = 0.0;
    for (var k = 0u; k < params.columns; k++) {
        sum += a[a_base + k] * b[b_base + k];
    }
    y[at] = sum * params.scale;
}
