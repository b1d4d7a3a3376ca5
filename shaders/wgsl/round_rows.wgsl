// Rounds rows of activations for integer products, half a chunk an invocation; see round.wgsl.

struct Params {
    count: u32,      // 2 · M · chunks
    chunks: u32,     // K / 32
    has_norm: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [M, K / 4]
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;           // [K / 4], if has_norm
@group(0) @binding(3) var<storage, read_write> y: array<vec4<u32>>;        // [M, 5 · chunks]
#include "elements.wgsl"
#include "round.wgsl"

fn four(at: u32) -> mat4x4<f32> {
    return mat4x4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}

fn weights_of(at: u32) -> mat4x4<f32> {
    if (params.has_norm == 0u) {
        let one = vec4<f32>(1.0);
        return mat4x4<f32>(one, one, one, one);
    }
    return mat4x4<f32>(norm[at], norm[at + 1u], norm[at + 2u], norm[at + 3u]);
}

fn compute_element(at: u32) {
    let half = at % 2u;
    let row = at / 2u / params.chunks;
    let chunk = at / 2u % params.chunks;
    let first = chunk * 8u + half * 4u;
    let second = chunk * 8u + (1u - half) * 4u;
    let own = four(row * params.chunks * 8u + first);
    let other = four(row * params.chunks * 8u + second);
    let rounded = round_half(
        scale_columns(own, weights_of(first)),
        scale_columns(other, weights_of(second)),
    );
    let to = row * params.chunks * ROUNDED_QUADS + half * params.chunks + chunk;
    y[to] = rounded.high;
    y[to + 2u * params.chunks] = rounded.middle;
    if (half == 0u) {
        let squares = squares_of(own) + squares_of(other);
        let about = vec4<f32>(rounded.step, rounded.sum, squares, bitcast<f32>(rounded.apart));
        y[to + 4u * params.chunks] = bitcast<vec4<u32>>(about);
    }
}
