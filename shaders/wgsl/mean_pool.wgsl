// y[b, c] = Σₜ mask[b, t] · x[b, t, c] / max(Σₜ mask[b, t], 1e-9), then divided by its row's length
// when NORMALISE is set; one workgroup a row.
#if SUBGROUPS == 1
enable subgroups;
#endif

struct Params {
    tokens: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [B, T, C]
@group(0) @binding(2) var<storage, read> mask: array<f32>;            // [B, T]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [B, C]

#include "reduce.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
#if SUBGROUPS
    @builtin(subgroup_size) size: u32,
#endif
) {
#if SUBGROUPS == 0
    let size = 1u;
#endif
    let b = workgroup.x;
    var weight = 0.0;
    for (var t = 0u; t < params.tokens; t++) {
        weight += mask[b * params.tokens + t];
    }
    weight = 1.0 / max(weight, 1e-9);
    var squares = 0.0;
    for (var c = lane; c < params.columns; c += WG) {
        var sum = 0.0;
        for (var t = 0u; t < params.tokens; t++) {
            let row = b * params.tokens + t;
            sum += mask[row] * x[row * params.columns + c];
        }
        squares += sum * weight * sum * weight;
        y[b * params.columns + c] = sum * weight;
    }
#if NORMALISE
    let length = 1.0 / max(sqrt(reduce_sum(squares, lane, size)), 1e-12);
    for (var c = lane; c < params.columns; c += WG) {
        y[b * params.columns + c] *= length;
    }
#endif
}
