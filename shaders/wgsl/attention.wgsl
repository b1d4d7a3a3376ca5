// y = softmax(scale · q kᵀ + masks) v for one query of one head a workgroup, in one sweep over the
// keys: WG keys, as many as a head may be wide, are scored at a time, and the running sum is rescaled
// when a larger score appears (online softmax, Milakov and Gimelshein 2018).
//
// CAUSAL: query t sees the keys up to position before + t, and only the last `window` of those.
// CACHED: `before` and so the number of keys come from the step buffer.
// PADDED: keys whose mask is 0 are not seen.
// BIASED: scores get an addend by head, absolute query and key; batches share groups of them in turn.
// A query that sees no key at all gets zeros.

struct Params {
    rows: u32,         // B · T · H
    tokens: u32,       // T, queries
    keys: u32,         // S, keys when not CACHED
    heads: u32,        // of q
    kv_heads: u32,     // of k and v; heads is a multiple
    width: u32,        // D, at most 256
    kv_batch: u32,     // strides of k and v in elements
    kv_head: u32,
    kv_token: u32,
    mask_stride: u32,  // keys in a row of the mask
    bias_groups: u32,  // G
    bias_rows: u32,    // R, absolute queries
    bias_columns: u32, // C, keys
    window: u32,       // keys a CAUSAL query sees; 2³² − 1 for all
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;               // [B, T, H, D]
@group(0) @binding(2) var<storage, read> k: array<f32>;               // by strides
@group(0) @binding(3) var<storage, read> v: array<f32>;               // by strides
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [B, T, H, D]
#if CACHED
@group(0) @binding(5) var<storage, read> step: array<u32>;            // [0]: positions before
#endif
#if PADDED
@group(0) @binding(6) var<storage, read> mask: array<f32>;            // [B, mask_stride], 1 or 0
#endif
#if BIASED
@group(0) @binding(7) var<storage, read> bias: array<f32>;            // [G, H, R, C]
#endif

#include "rows.wgsl"

// PARTS invocations score a key, so that their loads do not wait for each other. Then an invocation has a
// key, and then an element of y and every so manieth key: nothing needs a loop over registers.
const PARTS: u32 = 4u;
var<workgroup> query: array<f32, 256>;
var<workgroup> parts: array<f32, WG * PARTS>;
var<workgroup> scores: array<f32, WG>;

fn compute_row(row: u32, lane: u32, size: u32) {
    let head = row % params.heads;
    let t = row / params.heads % params.tokens;
    let b = row / (params.heads * params.tokens);
    let width = params.width;
    let q_base = row * width;
    let kv_base = b * params.kv_batch + head / (params.heads / params.kv_heads) * params.kv_head;
    if (lane < width) {
        query[lane] = q[q_base + lane] * params.scale;
    }
    workgroupBarrier();

#if CACHED
    let before = step[0];
    let keys = before + params.tokens;
#else
    let before = 0u;
    let keys = params.keys;
#endif
#if CAUSAL
    let seen = min(keys, before + t + 1u);
    let start = max(before + t + 1u, params.window) - params.window;
#else
    let seen = keys;
    let start = 0u;
#endif

#if BIASED
    let bias_head = b % params.bias_groups * params.heads + head;
    let bias_base = (bias_head * params.bias_rows + before + t) * params.bias_columns;
#endif

    let part = lane % PARTS;
    let element = lane % width;
    let group = lane / width;
    let groups = WG / width;

    var largest = -3.0e38;
    var sum = 0.0;
    var acc = 0.0;
    for (var first = start; first < seen; first += WG) {
        let count = min(WG, seen - first);
        for (var i = lane / PARTS; i < count; i += WG / PARTS) {
            parts[i * PARTS + part] = part_of_dot(kv_base + (first + i) * params.kv_token, part);
        }
        workgroupBarrier();
        let key = first + lane;
        var visible = lane < count;
#if PADDED
        visible = visible && mask[b * params.mask_stride + min(key, seen - 1u)] > 0.5;
#endif
        var score = -3.0e38;
        if (visible) {
            let at = lane * PARTS;
            score = parts[at] + parts[at + 1u] + parts[at + 2u] + parts[at + 3u];
#if BIASED
            score += bias[bias_base + key];
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
            acc += weighted(kv_base + first * params.kv_token + element, group, groups, count);
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
        y[q_base + lane] = total * select(0.0, 1.0 / sum, sum > 0.0);
    }
}

// Every PARTS-th four elements of the product of the query and the key at `base`.
fn part_of_dot(base: u32, part: u32) -> f32 {
    var sum = 0.0;
    for (var d = part * 4u; d < params.width; d += PARTS * 4u) {
        let at = base + d;
        if (d + 4u <= params.width) {
            sum += query[d] * k[at] + query[d + 1u] * k[at + 1u]
                + query[d + 2u] * k[at + 2u] + query[d + 3u] * k[at + 3u];
        } else {
            for (var rest = d; rest < params.width; rest++) {
                sum += query[rest] * k[base + rest];
            }
        }
    }
    return sum;
}

// The sum over every `groups`-th of `count` keys of weight times value, four keys at a time.
fn weighted(base: u32, group: u32, groups: u32, count: u32) -> f32 {
    let stride = params.kv_token;
    var sum = 0.0;
    var i = group;
    for (; i + 3u * groups < count; i += 4u * groups) {
        sum += scores[i] * v[base + i * stride]
            + scores[i + groups] * v[base + (i + groups) * stride]
            + scores[i + 2u * groups] * v[base + (i + 2u * groups) * stride]
            + scores[i + 3u * groups] * v[base + (i + 3u * groups) * stride];
    }
    for (; i < count; i += groups) {
        sum += scores[i] * v[base + i * stride];
    }
    return sum;
}
