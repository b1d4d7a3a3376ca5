// Stores the keys or values of T tokens behind those that a cache holds, in BITS bits: see engine/src/kv/rows.rs.
// An invocation has two chunks of a row, whose scales share a word.

struct Params {
    count: u32,      // B · T · H · pairs of chunks
    tokens: u32,     // T
    heads: u32,      // H
    width: u32,      // D
    capacity: u32,   // positions the cache has room for
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [B, T, H, D]
@group(0) @binding(2) var<storage, read> step: array<u32>;            // [0]: positions before
@group(0) @binding(3) var<storage, read_write> cache: array<u32>;     // [B, H, capacity] rows

#include "elements.wgsl"
#include "kv_codes.wgsl"

// Four numbers of a row, of which nothing lies beyond the width.
fn quad_of(start: u32, quad: u32) -> vec4<f32> {
    let at = vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let near = start + min(at, vec4<u32>(params.width - 1u));
    let numbers = vec4<f32>(x[near.x], x[near.y], x[near.z], x[near.w]);
    return select(vec4<f32>(0.0), numbers, at < vec4<u32>(params.width));
}

fn compute_element(at: u32) {
    let chunks = (params.width + 31u) / 32u;
    let pairs = (chunks + 1u) / 2u;
    let pair = at % pairs;
    let start = at / pairs * params.width;
    let head = at / pairs % params.heads;
    let token = at / pairs / params.heads % params.tokens;
    let batch = at / pairs / params.heads / params.tokens;
    let position = step[0] + token;
    if (position >= params.capacity) {
        return;
    }
    let row = (batch * params.heads + head) * params.capacity + position;
#if BITS == 16
    let quads = (params.width + 3u) / 4u;
    for (var quad = pair * 16u; quad < min(quads, (pair + 1u) * 16u); quad++) {
        let numbers = quad_of(start, quad);
        let to = (row * quads + quad) * 2u;
        cache[to] = pack2x16float(numbers.xy);
        cache[to + 1u] = pack2x16float(numbers.zw);
    }
#else
    let base = row * (chunks * BITS + pairs);
    var scales = vec2<f32>(pack_chunk(base, start, pair * 2u), 0.0);
    if (pair * 2u + 1u < chunks) {
        scales.y = pack_chunk(base, start, pair * 2u + 1u);
    }
    cache[base + chunks * BITS + pair] = pack2x16float(scales);
#endif
}

#if BITS < 16
// Stores the codes of a chunk, and gives its scale.
fn pack_chunk(base: u32, start: u32, chunk: u32) -> f32 {
    var largest = 0.0;
    for (var quad = 0u; quad < 8u; quad++) {
        largest = further(largest, extreme4(quad_of(start, chunk * 8u + quad)));
    }
    let d = scale_of(BITS, largest);
    for (var word = 0u; word < BITS; word++) {
        let first = codes_of(BITS, quad_of(start, chunk * 8u + word), d);
#if BITS == 8
        cache[base + chunk * 8u + word] = first;
#else
        let second = codes_of(BITS, quad_of(start, chunk * 8u + word + 4u), d);
        cache[base + chunk * 4u + word] = first | (second << 4u);
#endif
    }
    return d;
}
#endif
