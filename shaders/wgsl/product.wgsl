// What a product with a matrix of weights reads and writes; its parameters are at binding 0.

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;         // [M, K / 4]
#if BITS == 32
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;   // [N, K / 4]
#elif BITS == 16
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;   // [N, K / 4]
#else
@group(0) @binding(2) var<storage, read> weights: array<u32>;         // [N, K · BITS / 32]
#endif
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [M, N_TOTAL]
#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<f32>;            // [N_TOTAL]
#endif
#if BITS < 16
@group(0) @binding(5) var<storage, read> scales: array<u32>;          // [N · groups] halves or pairs
#endif

#include "weights.wgsl"
