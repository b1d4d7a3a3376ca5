// What a decoder's layer does between its projections for one token of each sequence: queries and keys turn
// by the angle of the token's position (halves convention), its key and value go behind those in the cache,
// and a workgroup a head attends to them all, in one sweep by online softmax as in attention.wgsl.
//
// SPLIT: several workgroups share the keys of a head, and leave to attention_merge.wgsl what each has found:
// its sum over values, the largest score, and the sum of weights relative to that.
//
// K_BITS and V_BITS: the cache has rows of few bits. The token sees itself as later ones will.
//
// WIDTH, of a head, is a multiple of 16 up to 128, so that what an invocation reads can be written out.

#include "attention_step_inputs.wgsl"
#include "rows.wgsl"

// PARTS invocations score a key, so that their loads do not wait for each other.
const PARTS: u32 = 4u;
const SCORED: u32 = WG / PARTS;
const GROUPS: u32 = WG / QUADS;
#if RING
// Behind it the query as sinks see it.
var<workgroup> query: array<vec4<f32>, 2u * QUADS>;
#else
var<workgroup> query: array<vec4<f32>, QUADS>;
#endif
var<workgroup> key: array<vec4<f32>, QUADS>;
var<workgroup> value: array<vec4<f32>, QUADS>;
var<workgroup> parts: array<f32, WG * PARTS>;
var<workgroup> scores: array<f32, WG>;
var<workgroup> accs: array<vec4<f32>, WG>;

// A quad of the key and of the value in a row of the cache.
#if K_BITS
#include "attention_step_rows.wgsl"
#else
fn key_at(row: u32, quad: u32) -> vec4<f32> {
    return keys[row * QUADS + quad];
}
fn value_at(row: u32, quad: u32) -> vec4<f32> {
    return values[row * QUADS + quad];
}
#endif

// Every PARTS-th quad of the product of the query and the key in `row`.
fn part_of_dot(row: u32, place: u32, part: u32) -> f32 {
#if RING
    let own = part + select(0u, QUADS, place < params.sinks);
#else
    let own = part;
#endif
    var sum = dot(query[own], key_at(row, part));
#if WIDTH > 16
    sum += dot(query[own + 4u], key_at(row, part + 4u));
#endif
#if WIDTH > 32
    sum += dot(query[own + 8u], key_at(row, part + 8u));
#endif
#if WIDTH > 48
    sum += dot(query[own + 12u], key_at(row, part + 12u));
#endif
#if WIDTH > 64
    sum += dot(query[own + 16u], key_at(row, part + 16u));
#endif
#if WIDTH > 80
    sum += dot(query[own + 20u], key_at(row, part + 20u));
#endif
#if WIDTH > 96
    sum += dot(query[own + 24u], key_at(row, part + 24u));
#endif
#if WIDTH > 112
    sum += dot(query[own + 28u], key_at(row, part + 28u));
#endif
    return sum;
}

// The sum over every GROUPS-th of `count` keys from `first` on of weight times a quad of the value, four keys at a
// time.
fn weighted(first: u32, quad: u32, group: u32, count: u32) -> vec4<f32> {
    var sum = vec4<f32>(0.0);
    var i = group;
    for (; i + 3u * GROUPS < count; i += 4u * GROUPS) {
        sum += scores[i] * value_at(first + i, quad)
            + scores[i + GROUPS] * value_at(first + i + GROUPS, quad)
            + scores[i + 2u * GROUPS] * value_at(first + i + 2u * GROUPS, quad)
            + scores[i + 3u * GROUPS] * value_at(first + i + 3u * GROUPS, quad);
    }
    for (; i < count; i += GROUPS) {
        sum += scores[i] * value_at(first + i, quad);
    }
    return sum;
}

fn compute_row(index: u32, lane: u32, size: u32) {
    let row = index / params.splits;
    let split = index % params.splits;
    let group_heads = params.heads / params.kv_heads;
    let head = row % params.heads;
    let kv_head = head / group_heads;
    let batch = row / params.heads;
    let position = step[0] + params.token;
    let place = place_of(position);
    let cache = (batch * params.kv_heads + kv_head) * params.capacity;
    let token = batch * params.tokens + params.token;
    let given_at = token * (params.heads + 2u * params.kv_heads);
    let key_at = (given_at + params.heads + kv_head) * QUADS;

    // Of invocations, so many have a pair of quads of the query, as many one of the key, and then each one
    // of the value.
    if (lane < 2u * HALF) {
        let i = lane % HALF;
        let at = select(key_at, (given_at + head) * QUADS, lane < HALF) + i;
        let angle = (position * HALF + i) * 2u;
        let turned = turn(angles[angle], angles[angle + 1u], x[at], x[at + HALF]);
        if (lane < HALF) {
            query[i] = turned[0] * params.scale;
            query[i + HALF] = turned[1] * params.scale;
        } else {
            key[i] = turned[0];
            key[i + HALF] = turned[1];
        }
    } else if (lane < 2u * HALF + QUADS) {
        let i = lane - 2u * HALF;
        value[i] = x[key_at + params.kv_heads * QUADS + i];
    }
#if RING
    if (lane < HALF) {
        let at = (given_at + head) * QUADS + lane;
        let angle = (min(position, params.capacity - 1u) * HALF + lane) * 2u;
        let turned = turn(angles[angle], angles[angle + 1u], x[at], x[at + HALF]);
        query[QUADS + lane] = turned[0] * params.scale;
        query[QUADS + lane + HALF] = turned[1] * params.scale;
    }
#endif
    workgroupBarrier();
    let stores = split == 0u && head % group_heads == 0u && place < params.capacity;
#if K_BITS
    store_rows(cache + place, stores, lane);
#else
    if (stores && lane < QUADS) {
        keys[(cache + place) * QUADS + lane] = key[lane];
        values[(cache + place) * QUADS + lane] = value[lane];
    }
#endif

    // The token sees itself first: the sweep goes on from there over the keys that were there before.
    let quad = lane % QUADS;
    let group = lane / QUADS;
    let part = lane % PARTS;
    var largest = -3.0e38;
    var sum = 0.0;
    var acc = vec4<f32>(0.0);
    if (split == 0u) {
        largest = 0.0;
        for (var i = 0u; i < QUADS; i++) {
            largest += dot(query[i], key[i]);
        }
        sum = 1.0;
        acc = select(acc, value[quad], group == 0u);
    }
    let start = max(position + 1u, params.window) - params.window;
    let before = min(position, params.capacity);
    let share = (before - start + params.splits - 1u) / params.splits;
    let end = min(start + (split + 1u) * share, before);
    for (var first = start + split * share; first < end; first += WG) {
        let count = min(WG, end - first);
        let base = cache + first;
        for (var i = lane / PARTS; i < count; i += 2u * SCORED) {
            let far = min(i + SCORED, count - 1u);
            let near_part = part_of_dot(base + i, first + i, part);
            let far_part = part_of_dot(base + far, first + far, part);
            parts[i * PARTS + part] = near_part;
            if (i + SCORED < count) {
                parts[far * PARTS + part] = far_part;
            }
        }
        workgroupBarrier();
#if RING
        // The oldest token makes room for this one.
        let visible = lane < count && first + lane != place;
#else
        let visible = lane < count;
#endif
        var score = -3.0e38;
        if (visible) {
            let at = lane * PARTS;
            score = parts[at] + parts[at + 1u] + parts[at + 2u] + parts[at + 3u];
        }
        let top = max(largest, reduce_max(score, lane, size));
        let weight = select(0.0, exp(max(score - top, -80.0)), visible);
        scores[lane] = weight;
        let rescale = exp(max(largest - top, -80.0));
        // reduce_sum ends in a barrier, after which every weight is in place.
        sum = sum * rescale + reduce_sum(weight, lane, size);
        acc *= rescale;
        if (group < GROUPS) {
            acc += weighted(base, quad, group, count);
        }
        largest = top;
        workgroupBarrier();
    }

    accs[lane] = acc;
    workgroupBarrier();
    var total = vec4<f32>(0.0);
    if (lane < QUADS) {
        for (var i = 0u; i < GROUPS; i++) {
            total += accs[i * QUADS + lane];
        }
    }
#if V_BITS == 4
    total = turned_back(total, lane);
#endif
    if (lane < QUADS) {
#if SPLIT
        y[index * (QUADS + 1u) + lane] = total;
#else
        y[(token * params.heads + head) * QUADS + lane] = total / sum;
#endif
    }
#if SPLIT
    if (lane == 0u) {
        y[index * (QUADS + 1u) + QUADS] = vec4<f32>(largest, sum, 0.0, 0.0);
    }
#endif
}
