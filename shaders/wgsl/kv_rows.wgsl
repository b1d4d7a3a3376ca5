// Rows of keys and of values as a cache stores them, each a head of a token: see engine/src/kv/rows.rs.
//
// K_BITS and V_BITS are 16, 8 or 4. Whoever includes this says how wide a head is (row_width), and has the words
// of all rows (key_word, value_word).

#include "bytes.wgsl"

fn row_chunks() -> u32 {
    return (row_width() + 31u) / 32u;
}

fn row_words(bits: u32) -> u32 {
    if (bits == 16u) {
        return (row_width() + 3u) / 4u * 2u;
    }
    return row_chunks() * bits + (row_chunks() + 1u) / 2u;
}

// Where the words of a quad of a row begin, and the word with its scale.
fn quad_at(bits: u32, row: u32, quad: u32) -> u32 {
    let base = row * row_words(bits);
    if (bits == 16u) {
        return base + quad * 2u;
    }
    if (bits == 8u) {
        return base + quad;
    }
    return base + quad / 8u * 4u + quad % 4u;
}
fn scale_at(bits: u32, row: u32, quad: u32) -> u32 {
    return row * row_words(bits) + row_chunks() * bits + quad / 16u;
}

// The numbers of four codes, a byte each.
fn stored(bits: u32, codes: u32, d: f32) -> vec4<f32> {
    if (bits == 8u) {
        return signed4(codes) * d;
    }
    return (bytes4(codes) - 8.0) * d;
}

// The numbers of a quad.
fn numbers_of(bits: u32, quad: u32, word: u32, next: u32, scales: u32) -> vec4<f32> {
    if (bits == 16u) {
        return vec4<f32>(unpack2x16float(word), unpack2x16float(next));
    }
    let pair = unpack2x16float(scales);
    let d = select(pair.x, pair.y, quad / 8u % 2u == 1u);
    if (bits == 8u) {
        return stored(8u, word, d);
    }
    return stored(4u, (word >> (quad / 4u % 2u * 4u)) & 0x0F0F0F0Fu, d);
}

fn key_quad(row: u32, quad: u32) -> vec4<f32> {
    let at = quad_at(K_BITS, row, quad);
#if K_BITS == 16
    return numbers_of(K_BITS, quad, key_word(at), key_word(at + 1u), 0u);
#else
    return numbers_of(K_BITS, quad, key_word(at), 0u, key_word(scale_at(K_BITS, row, quad)));
#endif
}

fn value_quad(row: u32, quad: u32) -> vec4<f32> {
    let at = quad_at(V_BITS, row, quad);
#if V_BITS == 16
    return numbers_of(V_BITS, quad, value_word(at), value_word(at + 1u), 0u);
#else
    return numbers_of(V_BITS, quad, value_word(at), 0u, value_word(scale_at(V_BITS, row, quad)));
#endif
}
