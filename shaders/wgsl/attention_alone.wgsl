// y = softmax(scale · q kᵀ + masks) v for software adapters: an invocation has a query of one head to
// itself, in one sweep over the keys as in attention.wgsl. So there is no workgroup memory, which these
// adapters spell out to clear, and no barrier, at which they go from invocation to invocation. What is
// summed up lies in y: memory is as near to a CPU as anything.

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

fn attend(query: Query) {
    let width = params.width;
    for (var d = 0u; d < width; d++) {
        y[query.base + d] = 0.0;
    }
    var largest = -3.0e38;
    var sum = 0.0;
    for (var key = query.start; key < query.seen; key++) {
#if PADDED
        if (mask[query.mask_base + key] <= 0.5) {
            continue;
        }
#endif
        let at = query.kv_base + key * params.kv_token;
        var score = 0.0;
        for (var d = 0u; d < width; d++) {
            score += q[query.base + d] * key_of(at, d);
        }
        score *= params.scale;
#if BIASED
        score += bias[query.bias_base + key];
#endif
        let top = max(largest, score);
        let rescale = exp(max(largest - top, -80.0));
        let weight = exp(max(score - top, -80.0));
        sum = sum * rescale + weight;
        for (var d = 0u; d < width; d++) {
            y[query.base + d] = y[query.base + d] * rescale + weight * value_of(at, d);
        }
        largest = top;
    }
    let scale = select(0.0, 1.0 / sum, sum > 0.0);
    for (var d = 0u; d < width; d++) {
        y[query.base + d] *= scale;
    }
}
