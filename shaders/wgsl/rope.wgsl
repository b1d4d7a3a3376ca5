// Rotary position embedding of queries and keys, halves convention: the pair (x[i], x[i + D/2]) turns by
// the angle of its position. Keys and values go behind those that a cache holds; the step buffer says how
// many positions went before. APART: they go into tensors of this pass, for who stores them otherwise.

struct Params {
    count: u32,      // B · T · (H + 2 · KV) · D / 2
    tokens: u32,     // T
    heads: u32,      // H, of queries
    kv_heads: u32,   // KV, of keys and of values
    half: u32,       // D / 2
    capacity: u32,   // positions the cache has room for
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [B, T, H + 2 · KV, D]
@group(0) @binding(2) var<storage, read> angles: array<vec2<f32>>;    // [positions, D / 2], (cos, sin)
@group(0) @binding(3) var<storage, read> step: array<u32>;            // [0]: positions before
@group(0) @binding(4) var<storage, read_write> queries: array<f32>;   // [B, T, H, D]
@group(0) @binding(5) var<storage, read_write> keys: array<f32>;      // [B, KV, capacity, D]; APART: [B, T, KV, D]
@group(0) @binding(6) var<storage, read_write> values: array<f32>;    // the same

#include "elements.wgsl"

fn compute_element(at: u32) {
    let all_heads = params.heads + 2u * params.kv_heads;
    let width = params.half * 2u;
    let i = at % params.half;
    let head = at / params.half % all_heads;
    let row = at / params.half / all_heads;
    let position = step[0] + row % params.tokens;
    let read_at = (row * all_heads + head) * width + i;
    var pair = vec2<f32>(x[read_at], x[read_at + params.half]);
    if (head < params.heads + params.kv_heads) {
        let turn = angles[position * params.half + i];
        pair = vec2<f32>(pair.x * turn.x - pair.y * turn.y, pair.y * turn.x + pair.x * turn.y);
    }
    if (head < params.heads) {
        let write_at = (row * params.heads + head) * width + i;
        queries[write_at] = pair.x;
        queries[write_at + params.half] = pair.y;
    } else if (position < params.capacity) {
#if APART
        let write_at = (row * params.kv_heads + (head - params.heads) % params.kv_heads) * width + i;
#else
        let kv_head = row / params.tokens * params.kv_heads + (head - params.heads) % params.kv_heads;
        let write_at = (kv_head * params.capacity + position) * width + i;
#endif
        if (head < params.heads + params.kv_heads) {
            keys[write_at] = pair.x;
            keys[write_at + params.half] = pair.y;
        } else {
            values[write_at] = pair.x;
            values[write_at + params.half] = pair.y;
        }
    }
}
