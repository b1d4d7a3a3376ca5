// y = softmax(scale · q kᵀ + masks) v for software adapters: an invocation has a query of one head to
// itself, in one sweep over the keys as in attention.wgsl, four at a time. So there is no workgroup memory,
// which these adapters spell out to clear, and no barrier, at which they go from invocation to invocation.
// What is summed up lies in y: memory is as near to a CPU as anything. Heads are a multiple of 4 wide.

#include "attention_inputs.wgsl"
#include "grid.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = grid_index(workgroup, grid) * WG + lane;
    if (row < params.rows) {
        attend(query_of(row));
    }
}

const HIDDEN: f32 = -3.0e38;

fn attend(query: Query) {
    let quads = params.width / 4u;
    let base = query.base / 4u;
    for (var d = 0u; d < quads; d++) {
        y[base + d] = vec4<f32>();
    }
    var largest = HIDDEN;
    var sum = 0.0;
    for (var key = query.start; key < query.seen; key += 4u) {
        let wanted = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u);
        let keys = min(wanted, vec4<u32>(query.seen - 1u));
        var seen = wanted == keys;
#if PADDED
        seen = seen & (four_of_mask(query.mask_base + keys) > vec4<f32>(0.5));
#endif
        let at = query.kv_base + keys * params.kv_token;
        var products = mat4x4<f32>();
        for (var d = 0u; d < quads; d++) {
            let x = q[base + d];
            products[0] += x * key_of(at.x, d);
            products[1] += x * key_of(at.y, d);
            products[2] += x * key_of(at.z, d);
            products[3] += x * key_of(at.w, d);
        }
        var scores = vec4<f32>(params.scale) * products;
#if BIASED
        scores += four_of_bias(query.bias_base + keys);
#endif
        scores = select(vec4<f32>(HIDDEN), scores, seen);
        let top = max(largest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
        let rescale = exp(max(largest - top, -80.0));
        let weights = select(vec4<f32>(), exp(max(scores - top, vec4<f32>(-80.0))), seen);
        sum = sum * rescale + dot(weights, vec4<f32>(1.0));
        for (var d = 0u; d < quads; d++) {
            let values = mat4x4<f32>(
                value_of(at.x, d),
                value_of(at.y, d),
                value_of(at.z, d),
                value_of(at.w, d),
            );
            y[base + d] = y[base + d] * rescale + values * weights;
        }
        largest = top;
    }
    let scale = select(0.0, 1.0 / sum, sum > 0.0);
    for (var d = 0u; d < quads; d++) {
        y[base + d] *= scale;
    }
}

#if PADDED
fn four_of_mask(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(mask[at.x], mask[at.y], mask[at.z], mask[at.w]);
}
#endif
#if BIASED
fn four_of_bias(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
}
#endif
