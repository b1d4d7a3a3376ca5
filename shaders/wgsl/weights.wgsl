// A matrix of weights at bindings 2 and 5: rows of chunks of 32 weights along K.
//
// BITS is 32, 16, 8, 4, 3 or 2; GROUP weights share a scale (32, 64 or 128); ASYM says whether a
// group has a minimum besides its scale. A weight is d · code + m.
//
//   codes4(chunk, i)    codes of the weights 4i … 4i+3 of a chunk, counted over the whole matrix;
//   words4(chunk, i)    the words that they are in, of which
//   codes_of(words, i)  makes them
//
// With WIDE the words of a chunk are read at once, and an i is a constant: a component of a vector that
// is chosen at run time is dear. With PAIRS two neighbouring chunks are read at once, of rows that have an even
// number of them, so that few bits fill a wide read as well.
//
//   fetch(chunk)               the words of a chunk, of which
//   packed(words, i)           makes a word of four codes, below 16 bits; those of 8 bits have a sign
//   unpack(words, chunk, i)    makes the codes
//   code_at(words, place)      is a single code, of any place in a chunk
//
//   fetch_pair(pair)           the words of two chunks, counted in pairs
//
//   affine(group)       d and m of a group, counted over the whole matrix
//
// Codes are laid out so that one shift and one mask give four neighbours, one in each byte.

#if BITS == 32
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;   // [N, K / 4]
#elif BITS == 16
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;   // [N, K / 4]
#elif WIDE == 0
@group(0) @binding(2) var<storage, read> weights: array<u32>;         // [N, K · BITS / 32]
#elif BITS == 3
#if PAIRS
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;   // [N, chunks / 2 · 3]
#else
@group(0) @binding(2) var<storage, read> weights: array<u32>;         // [N, chunks · 3]
#endif
#elif BITS == 2
#if PAIRS
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;   // [N, chunks / 2]
#else
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;   // [N, chunks]
#endif
#else
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;   // [N, chunks · BITS / 4]
#endif
#if BITS < 16
@group(0) @binding(5) var<storage, read> scales: array<u32>;          // [N · groups] halves or pairs
#endif

const WEIGHT_CHUNK: u32 = 32u;

#include "bytes.wgsl"

#if BITS == 32
alias Words4 = vec4<u32>;
fn words4(chunk: u32, i: u32) -> Words4 {
    return weights[chunk * 8u + i];
}
fn codes_of(words: Words4, i: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(words);
}
fn codes4(chunk: u32, i: u32) -> vec4<f32> {
    return codes_of(words4(chunk, i), i);
}
#elif BITS == 16
alias Words4 = vec2<u32>;
fn words4(chunk: u32, i: u32) -> Words4 {
    return weights[chunk * 8u + i];
}
fn codes_of(words: Words4, i: u32) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
fn codes4(chunk: u32, i: u32) -> vec4<f32> {
    return codes_of(words4(chunk, i), i);
}
#elif WIDE == 0
#if BITS == 8
alias Words4 = u32;
fn words4(chunk: u32, i: u32) -> Words4 {
    return weights[chunk * 8u + i];
}
fn codes_of(words: Words4, i: u32) -> vec4<f32> {
    return signed4(words);
}
#elif BITS == 4
alias Words4 = u32;
fn words4(chunk: u32, i: u32) -> Words4 {
    return weights[chunk * 4u + (i & 3u)];
}
fn codes_of(words: Words4, i: u32) -> vec4<f32> {
    return bytes4((words >> ((i >> 2u) * 4u)) & 0x0F0F0F0Fu);
}
#elif BITS == 3
alias Words4 = vec2<u32>;
fn words4(chunk: u32, i: u32) -> Words4 {
    return vec2<u32>(weights[chunk * 3u + (i & 1u)], weights[chunk * 3u + 2u]);
}
fn codes_of(words: Words4, i: u32) -> vec4<f32> {
    let half = i & 1u;
    let pair = i >> 1u;
    let low = (words.x >> (pair * 2u)) & 0x03030303u;
    let high = (words.y >> (half * 4u + pair)) & 0x01010101u;
    return bytes4(low | (high << 2u));
}
#else
alias Words4 = u32;
fn words4(chunk: u32, i: u32) -> Words4 {
    return weights[chunk * 2u + (i & 1u)];
}
fn codes_of(words: Words4, i: u32) -> vec4<f32> {
    return bytes4((words >> ((i >> 1u) * 2u)) & 0x03030303u);
}
#endif
fn codes4(chunk: u32, i: u32) -> vec4<f32> {
    return codes_of(words4(chunk, i), i);
}
#endif

#if PAIRS
struct Pair { a: Chunk, b: Chunk }
#endif
#if WIDE
#if BITS == 8
struct Chunk { low: vec4<u32>, high: vec4<u32> }
fn fetch(chunk: u32) -> Chunk {
    return Chunk(weights[chunk * 2u], weights[chunk * 2u + 1u]);
}
#if PAIRS
fn fetch_pair(pair: u32) -> Pair {
    return Pair(fetch(pair * 2u), fetch(pair * 2u + 1u));
}
#endif
fn packed(words: Chunk, i: u32) -> u32 {
    return select(words.low[i & 3u], words.high[i & 3u], i >= 4u);
}
fn unpack(words: Chunk, chunk: u32, i: u32) -> vec4<f32> {
    return signed4(packed(words, i));
}
fn code_at(words: Chunk, place: u32) -> f32 {
    let word = select(words.low, words.high, vec4<bool>(place >= 16u))[(place >> 2u) & 3u];
    return f32(extractBits(bitcast<i32>(word), (place & 3u) * 8u, 8u));
}
#elif BITS == 4
alias Chunk = vec4<u32>;
fn fetch(chunk: u32) -> Chunk {
    return weights[chunk];
}
#if PAIRS
fn fetch_pair(pair: u32) -> Pair {
    return Pair(fetch(pair * 2u), fetch(pair * 2u + 1u));
}
#endif
fn packed(words: Chunk, i: u32) -> u32 {
    return (words[i & 3u] >> ((i >> 2u) * 4u)) & 0x0F0F0F0Fu;
}
fn code_at(words: Chunk, place: u32) -> f32 {
    return f32((words[(place >> 2u) & 3u] >> ((place & 3u) * 8u + (place >> 4u) * 4u)) & 15u);
}
#elif BITS == 3
alias Chunk = vec3<u32>;
#if PAIRS
fn fetch_pair(pair: u32) -> Pair {
    let first = weights[pair * 3u];
    let middle = weights[pair * 3u + 1u];
    let last = weights[pair * 3u + 2u];
    return Pair(vec3<u32>(first, middle.x), vec3<u32>(middle.y, last));
}
#else
fn fetch(chunk: u32) -> Chunk {
    return vec3<u32>(weights[chunk * 3u], weights[chunk * 3u + 1u], weights[chunk * 3u + 2u]);
}
#endif
fn packed(words: Chunk, i: u32) -> u32 {
    let half = i & 1u;
    let pair = i >> 1u;
    // High bits are shifted at once to where they belong.
    let low = select(words.x, words.y, half == 1u) >> (pair * 2u);
    let by = half * 4u + pair;
    let high = select(words.z << ((2u - by) & 31u), words.z >> ((by - 2u) & 31u), by >= 2u);
    return (low & 0x03030303u) | (high & 0x04040404u);
}
fn code_at(words: Chunk, place: u32) -> f32 {
    let half = (place >> 2u) & 1u;
    let pair = place >> 3u;
    let in_byte = (place & 3u) * 8u;
    let low = (select(words.x, words.y, half == 1u) >> (in_byte + pair * 2u)) & 3u;
    let high = (words.z >> (in_byte + half * 4u + pair)) & 1u;
    return f32(low | (high << 2u));
}
#elif BITS == 2
alias Chunk = vec2<u32>;
#if PAIRS
fn fetch_pair(pair: u32) -> Pair {
    let words = weights[pair];
    return Pair(words.xy, words.zw);
}
#else
fn fetch(chunk: u32) -> Chunk {
    return weights[chunk];
}
#endif
fn packed(words: Chunk, i: u32) -> u32 {
    let word = select(words.x, words.y, (i & 1u) == 1u);
    return (word >> ((i >> 1u) * 2u)) & 0x03030303u;
}
fn code_at(words: Chunk, place: u32) -> f32 {
    let word = select(words.x, words.y, (place & 4u) != 0u);
    return f32((word >> ((place & 3u) * 8u + (place >> 3u) * 2u)) & 3u);
}
#else
alias Chunk = u32;
fn fetch(chunk: u32) -> Chunk {
    return chunk;
}
fn unpack(words: Chunk, chunk: u32, i: u32) -> vec4<f32> {
    return codes4(chunk, i);
}
#endif
#if BITS < 8
fn unpack(words: Chunk, chunk: u32, i: u32) -> vec4<f32> {
    return bytes4(packed(words, i));
}
#endif
#endif

#if BITS >= 16
fn affine(group: u32) -> vec2<f32> {
    return vec2<f32>(1.0, 0.0);
}
#else
fn affine(group: u32) -> vec2<f32> {
    return affine_of(affine_word(group), group);
}

// The word with what belongs to a group, and what that is.
fn affine_word(group: u32) -> u32 {
#if ASYM
    return scales[group];
#else
    return scales[group >> 1u];
#endif
}

fn affine_of(word: u32, group: u32) -> vec2<f32> {
#if ASYM
    return unpack2x16float(word);
#else
    let d = unpack2x16float(word >> ((group & 1u) * 16u)).x;
    return vec2<f32>(d, -ZERO * d);
#endif
}

// The code that stands for zero where groups have no minimum; two bits have none and straddle it.
#if BITS == 8
const ZERO: f32 = 0.0;
#elif BITS == 4
const ZERO: f32 = 8.0;
#elif BITS == 3
const ZERO: f32 = 4.0;
#else
const ZERO: f32 = 1.5;
#endif
#endif
