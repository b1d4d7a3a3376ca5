// y = softmax(scale · q kᵀ + masks) v for one query of one head a workgroup, in one sweep over the
// keys: WG keys, as many as a head may be wide, are scored at a time, and the running sum is rescaled
// when a larger score appears (online softmax, Milakov and Gimelshein 2018).

#include "attention_inputs.wgsl"
#include "rows.wgsl"

// PARTS invocations score a key, so that their loads do not wait for each other. Then an invocation has a
// key, and then an element of y and every so manieth key: nothing needs a loop over registers.
const PARTS: u32 = 4u;
var<workgroup> query: array<f32, 256>;
var<workgroup> parts: array<f32, WG * PARTS>;
var<workgroup> scores: array<f32, WG>;

fn compute_row(row: u32, lane: u32, size: u32) {
    let width = params.width;
    let found = query_of(row);
    let seen = found.seen;
    if (lane < width) {
        query[lane] = q[found.base + lane] * params.scale;
    }
    workgroupBarrier();

    let part = lane % PARTS;
    let element = lane % width;
    let group = lane / width;
    let groups = WG / width;

    var largest = -3.0e38;
    var sum = 0.0;
    var acc = 0.0;
    for (var first = found.start; first < seen; first += WG) {
        let count = min(WG, seen - first);
        for (var i = lane / PARTS; i < count; i += WG / PARTS) {
            parts[i * PARTS + part] = part_of_dot(found.kv_base + (first + i) * params.kv_token, part);
        }
        workgroupBarrier();
        let key = first + lane;
        var visible = lane < count;
#if PADDED
        visible = visible && mask[found.mask_base + min(key, seen - 1u)] > 0.5;
#endif
        var score = -3.0e38;
        if (visible) {
            let at = lane * PARTS;
            score = parts[at] + parts[at + 1u] + parts[at + 2u] + parts[at + 3u];
#if BIASED
            score += bias[found.bias_base + key];
#endif
        }
        let top = max(largest, reduce_max(score, lane, size));
        let weight = select(0.0, exp(max(score - top, -80.0)), visible);
        scores[lane] = weight;
        let rescale = exp(max(largest - top, -80.0));
        // reduce_sum ends in a barrier, after which every weight is in place.
        sum = sum * rescale + reduce_sum(weight, lane, size);
        acc *= rescale;
        if (group < groups) {
            acc += weighted(found.kv_base + first * params.kv_token, element, group, groups, count);
        }
        largest = top;
        workgroupBarrier();
    }

    parts[lane] = acc;
    workgroupBarrier();
    if (lane < width) {
        var total = 0.0;
        for (var i = 0u; i < groups; i++) {
            total += parts[i * width + lane];
        }
        y[found.base + lane] = total * select(0.0, 1.0 / sum, sum > 0.0);
    }
}

// Every PARTS-th four elements of the product of the query and the key at `base`.
fn part_of_dot(base: u32, part: u32) -> f32 {
    var sum = 0.0;
    for (var d = part * 4u; d < params.width; d += PARTS * 4u) {
        if (d + 4u <= params.width) {
            let four = four_of_key(base, d);
            sum += query[d] * four.x + query[d + 1u] * four.y
                + query[d + 2u] * four.z + query[d + 3u] * four.w;
        } else {
            for (var rest = d; rest < params.width; rest++) {
                sum += query[rest] * key_of(base, rest);
            }
        }
    }
    return sum;
}

fn four_of_key(base: u32, d: u32) -> vec4<f32> {
#if K_BITS
    return key_quad(base, d / 4u);
#else
    let at = base + d;
    return vec4<f32>(k[at], k[at + 1u], k[at + 2u], k[at + 3u]);
#endif
}

// The sum over every `groups`-th of `count` keys of weight times an element of the value, four keys at a time.
fn weighted(base: u32, element: u32, group: u32, groups: u32, count: u32) -> f32 {
    let stride = params.kv_token;
    var sum = 0.0;
    var i = group;
    for (; i + 3u * groups < count; i += 4u * groups) {
        sum += scores[i] * value_of(base + i * stride, element)
            + scores[i + groups] * value_of(base + (i + groups) * stride, element)
            + scores[i + 2u * groups] * value_of(base + (i + 2u * groups) * stride, element)
            + scores[i + 3u * groups] * value_of(base + (i + 3u * groups) * stride, element);
    }
    for (; i < count; i += groups) {
        sum += scores[i] * value_of(base + i * stride, element);
    }
    return sum;
}
