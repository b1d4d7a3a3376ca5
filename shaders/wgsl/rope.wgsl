// Rotary position embedding, halves convention: the pair (x[i], x[i + D/2]) turns by the angle of
// its position. The step buffer says how many positions went before.

struct Params {
    count: u32,      // B · T · H · D / 2
    tokens: u32,     // T
    heads: u32,      // H
    half: u32,       // D / 2
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [B, T, H, D]
@group(0) @binding(2) var<storage, read> angles: array<vec2<f32>>;    // [positions, D / 2], (cos, sin)
@group(0) @binding(3) var<storage, read> step: array<u32>;            // [0]: positions before
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [B, T, H, D]

#include "elements.wgsl"

fn compute_element(at: u32) {
    let i = at % params.half;
    let head = at / params.half;
    let position = step[0] + head / params.heads % params.tokens;
    let turn = angles[position * params.half + i];
    let base = head * params.half * 2u + i;
    let a = x[base];
    let b = x[base + params.half];
    y[base] = a * turn.x - b * turn.y;
    y[base + params.half] = b * turn.x + a * turn.y;
}
