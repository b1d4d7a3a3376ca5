// What attention_lanes.wgsl does where a cache has rows of few bits. LANES quads in a row are a chunk's, or half a chunk's
// where a head has no more: what a chunk has in common, its lanes find among themselves.

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

#if V_BITS == 4
const SIZE: f32 = 0.17677669529663687;   // 1 / √32

// The sums and the differences of a quad's numbers, in which the Hadamard matrix ends.
fn turned_quad(sum: vec4<f32>) -> vec4<f32> {
    let pairs = vec4<f32>(sum.x + sum.y, sum.x - sum.y, sum.z + sum.w, sum.z - sum.w);
    return SIZE * vec4<f32>(pairs.xy + pairs.zw, pairs.xy - pairs.zw);
}

// What two lanes make of what they hold: the first has the sum.
fn crossed(numbers: vec4<f32>, lane: u32, places: u32) -> vec4<f32> {
    let other = subgroupShuffleXor(numbers, places);
    return select(other + numbers, other - numbers, (lane & places) != 0u);
}

// A quad of eight that neighbours hold.
fn turned_eight(numbers: vec4<f32>, lane: u32) -> vec4<f32> {
    return turned_quad(crossed(crossed(crossed(numbers, lane, 1u), lane, 2u), lane, 4u));
}

fn turned_part(part: Part, lane: u32) -> Part {
    var result: Part;
#if WIDTH == 32
    let low = crossed(crossed(part.low, lane, 1u), lane, 2u);
    let high = crossed(crossed(part.high, lane, 1u), lane, 2u);
    result.low = turned_quad(low + high);
    result.high = turned_quad(low - high);
#else
    result.low = turned_eight(part.low, lane);
    result.high = turned_eight(part.high, lane);
#endif
#if WIDTH == 128
    result.next_low = turned_eight(part.next_low, lane);
    result.next_high = turned_eight(part.next_high, lane);
#endif
    return result;
}
#endif

#if K_BITS != 16
// The one of two lanes' extremes that is further from zero, the first lane's of equals.
fn further_of(extreme: f32, lane: u32, places: u32) -> f32 {
    let other = subgroupShuffleXor(extreme, places);
    let is_second = (lane & places) != 0u;
    return further(select(extreme, other, is_second), select(other, extreme, is_second));
}

fn extreme_of(quad: vec4<f32>, lane: u32) -> f32 {
    let pairs = further_of(further_of(extreme4(quad), lane, 1u), lane, 2u);
#if WIDTH == 32
    return pairs;
#else
    return further_of(pairs, lane, 4u);
#endif
}

// Scales of the chunks that a lane has quads of.
fn scales_of(bits: u32, part: Part, lane: u32) -> vec4<f32> {
    let low = extreme_of(part.low, lane);
    let high = extreme_of(part.high, lane);
#if WIDTH == 32
    let scale = scale_of(bits, further(low, high));
    return vec4<f32>(scale, scale, 0.0, 0.0);
#elif WIDTH == 64
    return vec4<f32>(scale_of(bits, low), scale_of(bits, high), 0.0, 0.0);
#else
    let next_low = extreme_of(part.next_low, lane);
    let next_high = extreme_of(part.next_high, lane);
    return vec4<f32>(
        scale_of(bits, low), scale_of(bits, high), scale_of(bits, next_low), scale_of(bits, next_high),
    );
#endif
}

// Codes of a lane's quads, in their order in Part.
fn codes_in(bits: u32, part: Part, scales: vec4<f32>) -> vec4<u32> {
    var codes: vec4<u32>;
    codes.x = codes_of(bits, part.low, scales.x);
    codes.y = codes_of(bits, part.high, scales.y);
#if WIDTH == 128
    codes.z = codes_of(bits, part.next_low, scales.z);
    codes.w = codes_of(bits, part.next_high, scales.w);
#endif
    return codes;
}

// The numbers as they come back.
fn back(bits: u32, codes: vec4<u32>, scales: vec4<f32>) -> Part {
    var part: Part;
    part.low = stored(bits, codes.x, scales.x);
    part.high = stored(bits, codes.y, scales.y);
#if WIDTH == 128
    part.next_low = stored(bits, codes.z, scales.z);
    part.next_high = stored(bits, codes.w, scales.w);
#endif
    return part;
}

// Codes as words have them: of 4 bits the fifth quad of a chunk lies above the first.
fn words_of(bits: u32, codes: vec4<u32>) -> vec4<u32> {
    if (bits == 8u) {
        return codes;
    }
#if WIDTH == 32
    return vec4<u32>(codes.x | (codes.y << 4u), 0u, 0u, 0u);
#else
    return codes | (subgroupShuffleXor(codes, 4u) << vec4<u32>(4u));
#endif
}

// The words of scales: two chunks each, those of a head in their order.
fn scale_words(scales: vec4<f32>) -> vec2<u32> {
#if WIDTH == 32
    return vec2<u32>(pack2x16float(vec2<f32>(scales.x, 0.0)), 0u);
#elif WIDTH == 64
    return vec2<u32>(pack2x16float(scales.xy), 0u);
#else
    return vec2<u32>(pack2x16float(scales.xz), pack2x16float(scales.yw));
#endif
}
#endif

#if K_BITS == 16
fn words_of(numbers: vec4<f32>) -> vec2<u32> {
    return vec2<u32>(pack2x16float(numbers.xy), pack2x16float(numbers.zw));
}

fn rounded_quad(numbers: vec4<f32>) -> vec4<f32> {
    let words = words_of(numbers);
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn rounded(part: Part) -> Part {
    var result: Part;
    result.low = rounded_quad(part.low);
    result.high = rounded_quad(part.high);
#if WIDTH == 128
    result.next_low = rounded_quad(part.next_low);
    result.next_high = rounded_quad(part.next_high);
#endif
    return result;
}

fn store_quads(row: u32, quad: u32, key: vec4<f32>, value: vec4<f32>) {
    let to = quad_at(16u, row, quad);
    let key_words = words_of(key);
    let value_words = words_of(value);
    keys[to] = key_words.x;
    keys[to + 1u] = key_words.y;
    values[to] = value_words.x;
    values[to + 1u] = value_words.y;
}

// The token's key and value as they come out of the cache, into which they go, if they are stored here.
fn as_stored(token: Token, row: u32, stores: bool, lane: u32) -> Token {
    if (stores) {
        store_quads(row, lane, token.key.low, token.value.low);
        store_quads(row, lane + HALF, token.key.high, token.value.high);
#if WIDTH == 128
        store_quads(row, lane + LANES, token.key.next_low, token.value.next_low);
        store_quads(row, lane + LANES + HALF, token.key.next_high, token.value.next_high);
#endif
    }
    return Token(rounded(token.key), rounded(token.value));
}
#else
fn store_words(row: u32, quad: u32, key: u32, value: u32, lane: u32) {
#if K_BITS == 8
    keys[quad_at(8u, row, quad)] = key;
#else
    if (lane < 4u) {
        keys[quad_at(4u, row, quad)] = key;
    }
#endif
#if V_BITS == 8
    values[quad_at(8u, row, quad)] = value;
#else
    if (lane < 4u) {
        values[quad_at(4u, row, quad)] = value;
    }
#endif
}

// The token's key and value as they come out of the cache, into which they go, if they are stored here.
fn as_stored(token: Token, row: u32, stores: bool, lane: u32) -> Token {
    let key_scales = scales_of(K_BITS, token.key, lane);
    let value_scales = scales_of(V_BITS, token.value, lane);
    let key_codes = codes_in(K_BITS, token.key, key_scales);
    let value_codes = codes_in(V_BITS, token.value, value_scales);
    let key_words = words_of(K_BITS, key_codes);
    let value_words = words_of(V_BITS, value_codes);
    if (stores) {
        store_words(row, lane, key_words.x, value_words.x, lane);
#if WIDTH > 32
        store_words(row, lane + HALF, key_words.y, value_words.y, lane);
#elif K_BITS == 8
        keys[quad_at(8u, row, lane + HALF)] = key_words.y;
#if V_BITS == 8
        values[quad_at(8u, row, lane + HALF)] = value_words.y;
#endif
#endif
#if WIDTH == 128
        store_words(row, lane + LANES, key_words.z, value_words.z, lane);
        store_words(row, lane + LANES + HALF, key_words.w, value_words.w, lane);
#endif
        if (lane == 0u) {
            let key_scale_words = scale_words(key_scales);
            let value_scale_words = scale_words(value_scales);
            keys[scale_at(K_BITS, row, 0u)] = key_scale_words.x;
            values[scale_at(V_BITS, row, 0u)] = value_scale_words.x;
#if WIDTH == 128
            keys[scale_at(K_BITS, row, 16u)] = key_scale_words.y;
            values[scale_at(V_BITS, row, 16u)] = value_scale_words.y;
#endif
        }
    }
    return Token(back(K_BITS, key_codes, key_scales), back(V_BITS, value_codes, value_scales));
}
#endif
