// What a product with a matrix of weights reads and writes; its parameters are at binding 0.

#if ROUNDED
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // [M, 5 · chunks], see round.wgsl
#else
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;         // [M, K / 4], or with WINDOWS [B, height, width, quads]
#endif
#if LEAVES
@group(0) @binding(3) var<storage, read_write> y: array<vec4<u32>>;   // [5 · chunks of N], see round.wgsl
#else
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [M, N_TOTAL]
#endif
@group(0) @binding(4) var<storage, read> bias: array<f32>;            // [N_TOTAL], if params.has_bias

#include "weights.wgsl"
