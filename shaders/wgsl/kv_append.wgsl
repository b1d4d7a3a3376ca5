// Copies the keys or values of T tokens behind those a cache already holds.

struct Params {
    count: u32,      // B · T · H · D
    tokens: u32,     // T
    heads: u32,      // H
    width: u32,      // D
    capacity: u32,   // positions the cache has room for
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [B, T, H, D]
@group(0) @binding(2) var<storage, read> step: array<u32>;            // [0]: positions before
@group(0) @binding(3) var<storage, read_write> cache: array<f32>;     // [B, H, capacity, D]

#include "elements.wgsl"

fn compute_element(at: u32) {
    let d = at % params.width;
    let head = at / params.width % params.heads;
    let token = at / (params.width * params.heads) % params.tokens;
    let batch = at / (params.width * params.heads * params.tokens);
    let position = step[0] + token;
    if (position < params.capacity) {
        cache[((batch * params.heads + head) * params.capacity + position) * params.width + d] = x[at];
    }
}
