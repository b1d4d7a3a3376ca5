// What attention reads, and what a query sees of it.
//
// CAUSAL: query t sees the keys up to position before + t, and only the last `window` of those.
// CACHED: `before` and so the number of keys come from the step buffer.
// PADDED: keys whose mask is 0 are not seen.
// BIASED: scores get an addend by head, absolute query and key; batches share groups of them in turn.
// QUADS: numbers are read and written four at a time, and heads are as wide as a multiple of that.
// K_BITS and V_BITS: keys and values are rows of a cache in so few bits, and strides count rows.
// A query that sees no key at all gets zeros.

#if QUADS
alias Numbers = vec4<f32>;
#else
alias Numbers = f32;
#endif

struct Params {
    rows: u32,         // B · T · H, or so many tiles of queries
    tokens: u32,       // T, queries
    keys: u32,         // S, keys when not CACHED
    heads: u32,        // of q
    kv_heads: u32,     // of k and v; heads is a multiple
    width: u32,        // D, at most 256
    kv_batch: u32,     // strides of k and v in elements, or in rows
    kv_head: u32,
    kv_token: u32,
    mask_stride: u32,  // keys in a row of the mask
    bias_groups: u32,  // G
    bias_rows: u32,    // R, absolute queries
    bias_columns: u32, // C, keys
    window: u32,       // keys a CAUSAL query sees; 2³² − 1 for all
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Numbers>;           // [B, T, H, D]
#if K_BITS
@group(0) @binding(2) var<storage, read> k: array<u32>;               // rows
@group(0) @binding(3) var<storage, read> v: array<u32>;               // rows
#else
@group(0) @binding(2) var<storage, read> k: array<Numbers>;           // by strides
@group(0) @binding(3) var<storage, read> v: array<Numbers>;           // by strides
#endif
@group(0) @binding(4) var<storage, read_write> y: array<Numbers>;     // [B, T, H, D]
#if CACHED
@group(0) @binding(5) var<storage, read> step: array<u32>;            // [0]: positions before
#endif
#if PADDED
@group(0) @binding(6) var<storage, read> mask: array<f32>;            // [B, mask_stride], 1 or 0
#endif
#if BIASED
@group(0) @binding(7) var<storage, read> bias: array<f32>;            // [G, H, R, C]
#endif

#if K_BITS
fn row_width() -> u32 {
    return params.width;
}
fn key_word(at: u32) -> u32 {
    return k[at];
}
fn value_word(at: u32) -> u32 {
    return v[at];
}
#include "kv_rows.wgsl"
#if QUADS
fn key_of(row: u32, quad: u32) -> vec4<f32> {
    return key_quad(row, quad);
}
fn value_of(row: u32, quad: u32) -> vec4<f32> {
    return value_quad(row, quad);
}
#else
fn key_of(row: u32, element: u32) -> f32 {
    return key_quad(row, element / 4u)[element % 4u];
}
fn value_of(row: u32, element: u32) -> f32 {
    return value_quad(row, element / 4u)[element % 4u];
}
#endif
#else
// Of the key and of the value at `row` these numbers, counted as they are read.
#if QUADS
fn key_of(row: u32, quad: u32) -> vec4<f32> {
    return k[row / 4u + quad];
}
fn value_of(row: u32, quad: u32) -> vec4<f32> {
    return v[row / 4u + quad];
}
#else
fn key_of(row: u32, element: u32) -> f32 {
    return k[row + element];
}
fn value_of(row: u32, element: u32) -> f32 {
    return v[row + element];
}
#endif
#endif

// Where the query of a row and what it sees lie.
struct Query {
    base: u32,       // of q and y
    kv_base: u32,    // of the first key and value of its head
    start: u32,      // the first key
    seen: u32,       // behind the last key
    mask_base: u32,
    bias_base: u32,
}

fn query_of(row: u32) -> Query {
    let head = row % params.heads;
    let t = row / params.heads % params.tokens;
    let b = row / (params.heads * params.tokens);
    var found: Query;
    found.base = row * params.width;
    found.kv_base = b * params.kv_batch + head / (params.heads / params.kv_heads) * params.kv_head;
#if CACHED
    let before = step[0];
    let keys = before + params.tokens;
#else
    let before = 0u;
    let keys = params.keys;
#endif
#if CAUSAL
    found.seen = min(keys, before + t + 1u);
    found.start = max(before + t + 1u, params.window) - params.window;
#else
    found.seen = keys;
    found.start = 0u;
#endif
    found.mask_base = b * params.mask_stride;
    let bias_head = b % max(params.bias_groups, 1u) * params.heads + head;
    found.bias_base = (bias_head * params.bias_rows + before + t) * params.bias_columns;
    return found;
}
