// A matrix of weights at bindings 2 and 5: rows of chunks of 32 weights along K.
//
// BITS is 32, 16, 8, 4, 3 or 2; GROUP weights share a scale (32, 64 or 128); ASYM says whether a
// group has a minimum besides its scale. A weight is d · code + m.
//
//   codes4(chunk, i)    codes of the weights 4i … 4i+3 of a chunk, counted over the whole matrix
//   affine(group)       d and m of a group, counted over the whole matrix
//
// Codes are laid out so that one shift and one mask give four neighbours, one in each byte.

#if BITS == 32
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;   // [N, K / 4]
#elif BITS == 16
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;   // [N, K / 4]
#else
@group(0) @binding(2) var<storage, read> weights: array<u32>;         // [N, K · BITS / 32]
@group(0) @binding(5) var<storage, read> scales: array<u32>;          // [N · groups] halves or pairs
#endif

const WEIGHT_CHUNK: u32 = 32u;

fn bytes4(word: u32) -> vec4<f32> {
    return vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u));
}

#if BITS == 32
fn codes4(chunk: u32, i: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(weights[chunk * 8u + i]);
}
#endif
#if BITS == 16
fn codes4(chunk: u32, i: u32) -> vec4<f32> {
    let words = weights[chunk * 8u + i];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
#endif
#if BITS == 8
fn codes4(chunk: u32, i: u32) -> vec4<f32> {
    let word = bitcast<i32>(weights[chunk * 8u + i]);
    return vec4<f32>((vec4<i32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}
#endif
#if BITS == 4
fn codes4(chunk: u32, i: u32) -> vec4<f32> {
    return bytes4((weights[chunk * 4u + (i & 3u)] >> ((i >> 2u) * 4u)) & 0x0F0F0F0Fu);
}
#endif
#if BITS == 3
fn codes4(chunk: u32, i: u32) -> vec4<f32> {
    let half = i & 1u;
    let pair = i >> 1u;
    let low = (weights[chunk * 3u + half] >> (pair * 2u)) & 0x03030303u;
    let high = (weights[chunk * 3u + 2u] >> (half * 4u + pair)) & 0x01010101u;
    return bytes4(low | (high << 2u));
}
#endif
#if BITS == 2
fn codes4(chunk: u32, i: u32) -> vec4<f32> {
    return bytes4((weights[chunk * 2u + (i & 1u)] >> ((i >> 1u) * 2u)) & 0x03030303u);
}
#endif

#if BITS >= 16
fn affine(group: u32) -> vec2<f32> {
    return vec2<f32>(1.0, 0.0);
}
#else
fn affine(group: u32) -> vec2<f32> {
#if ASYM
    return unpack2x16float(scales[group]);
#else
    let pair = unpack2x16float(scales[group >> 1u]);
    let d = select(pair.x, pair.y, (group & 1u) == 1u);
    // The code that stands for zero; two bits have none and straddle it.
#if BITS == 8
    return vec2<f32>(d, 0.0);
#endif
#if BITS == 4
    return vec2<f32>(d, -8.0 * d);
#endif
#if BITS == 3
    return vec2<f32>(d, -4.0 * d);
#endif
#if BITS == 2
    return vec2<f32>(d, -1.5 * d);
#endif
#endif
}
#endif
