// What attention_step.wgsl does where a cache has rows of few bits.

fn row_width() -> u32 {
    return WIDTH;
}
fn key_word(at: u32) -> u32 {
    return keys[at];
}
fn value_word(at: u32) -> u32 {
    return values[at];
}
#include "kv_rows.wgsl"
#include "kv_codes.wgsl"

fn key_at(row: u32, quad: u32) -> vec4<f32> {
    return key_quad(row, quad);
}
fn value_at(row: u32, quad: u32) -> vec4<f32> {
    return value_quad(row, quad);
}

// Of the key and, behind them, of the value: extremes of quads, and their codes.
var<workgroup> extremes: array<f32, 2u * QUADS>;
var<workgroup> codes: array<u32, 2u * QUADS>;

#if V_BITS == 4
const SIZE: f32 = 0.17677669529663687;   // 1 / √32
// Blocks of 32 numbers that are to be turned.
#if RING
var<workgroup> turning: array<vec4<f32>, 4u * QUADS>;
#else
var<workgroup> turning: array<vec4<f32>, 3u * QUADS>;
#endif

// A quad of them turned by the Hadamard matrix, quads first.
fn turned_block(first: u32, quad: u32) -> vec4<f32> {
    let own = quad % 8u;
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < 8u; i++) {
        let numbers = turning[first + quad - own + i];
        sum += select(numbers, -numbers, countOneBits(own & i) % 2u == 1u);
    }
    let pairs = vec4<f32>(sum.x + sum.y, sum.x - sum.y, sum.z + sum.w, sum.z - sum.w);
    return SIZE * vec4<f32>(pairs.xy + pairs.zw, pairs.xy - pairs.zw);
}

// The output is turned back: the matrix is its own inverse.
fn turned_back(total: vec4<f32>, lane: u32) -> vec4<f32> {
    if (lane < QUADS) {
        turning[lane] = total;
    }
    workgroupBarrier();
    return turned_block(0u, lane % QUADS);
}
#endif

// The extreme of a chunk, of the key or behind it the value.
fn extreme_of(first: u32, chunk: u32) -> f32 {
    let at = first + chunk * 8u;
    return further(
        further(further(extremes[at], extremes[at + 1u]), further(extremes[at + 2u], extremes[at + 3u])),
        further(further(extremes[at + 4u], extremes[at + 5u]), further(extremes[at + 6u], extremes[at + 7u])),
    );
}

fn scale_in(bits: u32, first: u32, chunk: u32) -> f32 {
    return scale_of(bits, extreme_of(first, chunk % (QUADS / 8u)));
}

// Leaves the token's key and value in workgroup memory as they come out of the cache, into which they go, if
// this workgroup is the one that stores them.
fn store_rows(row: u32, stores: bool, lane: u32) {
    let quad = lane % QUADS;
#if V_BITS == 4
    if (lane < QUADS) {
        turning[quad] = value[quad];
        turning[QUADS + quad] = key[quad];
        turning[2u * QUADS + quad] = query[quad];
#if RING
        turning[3u * QUADS + quad] = query[QUADS + quad];
#endif
    }
    workgroupBarrier();
    if (lane < QUADS) {
        value[quad] = turned_block(0u, quad);
#if K_BITS == 4
        key[quad] = turned_block(QUADS, quad);
        query[quad] = turned_block(2u * QUADS, quad);
#if RING
        query[QUADS + quad] = turned_block(3u * QUADS, quad);
#endif
#endif
    }
    workgroupBarrier();
#endif
#if K_BITS == 16
    if (lane < QUADS) {
        let key_words = vec2<u32>(pack2x16float(key[quad].xy), pack2x16float(key[quad].zw));
        let value_words = vec2<u32>(pack2x16float(value[quad].xy), pack2x16float(value[quad].zw));
        key[quad] = vec4<f32>(unpack2x16float(key_words.x), unpack2x16float(key_words.y));
        value[quad] = vec4<f32>(unpack2x16float(value_words.x), unpack2x16float(value_words.y));
        if (stores) {
            let to = quad_at(16u, row, quad);
            keys[to] = key_words.x;
            keys[to + 1u] = key_words.y;
            values[to] = value_words.x;
            values[to + 1u] = value_words.y;
        }
    }
    workgroupBarrier();
#else
    if (lane < QUADS) {
        extremes[quad] = extreme4(key[quad]);
        extremes[QUADS + quad] = extreme4(value[quad]);
    }
    workgroupBarrier();
    let chunk = quad / 8u;
    let key_scale = scale_in(K_BITS, 0u, chunk);
    let value_scale = scale_in(V_BITS, QUADS, chunk);
    if (lane < QUADS) {
        codes[quad] = codes_of(K_BITS, key[quad], key_scale);
        codes[QUADS + quad] = codes_of(V_BITS, value[quad], value_scale);
        key[quad] = stored(K_BITS, codes[quad], key_scale);
        value[quad] = stored(V_BITS, codes[QUADS + quad], value_scale);
    }
    workgroupBarrier();
    if (stores && lane < QUADS) {
#if K_BITS == 8
        keys[quad_at(8u, row, quad)] = codes[quad];
#else
        if (quad % 8u < 4u) {
            keys[quad_at(4u, row, quad)] = codes[quad] | (codes[quad + 4u] << 4u);
        }
#endif
#if V_BITS == 8
        values[quad_at(8u, row, quad)] = codes[QUADS + quad];
#else
        if (quad % 8u < 4u) {
            values[quad_at(4u, row, quad)] = codes[QUADS + quad] | (codes[QUADS + quad + 4u] << 4u);
        }
#endif
        if (quad % 16u == 0u) {
            let key_scales = vec2<f32>(key_scale, scale_in(K_BITS, 0u, chunk + 1u));
            let value_scales = vec2<f32>(value_scale, scale_in(V_BITS, QUADS, chunk + 1u));
            keys[scale_at(K_BITS, row, quad)] = pack2x16float(key_scales);
            values[scale_at(V_BITS, row, quad)] = pack2x16float(value_scales);
        }
    }
#endif
}
