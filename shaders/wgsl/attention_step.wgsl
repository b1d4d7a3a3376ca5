// What a decoder's layer does between its projections for one token of each sequence: queries and keys turn
// by the angle of the token's position (halves convention), its key and value go behind those in the cache,
// and a workgroup a head attends to them all, in one sweep by online softmax as in attention.wgsl.
//
// SPLIT: several workgroups share the keys of a head, and leave to attention_merge.wgsl what each has found:
// its sum over values, the largest score, and the sum of weights relative to that.
//
// K_BITS and V_BITS: the cache has rows of so few bits (see kv_rows.wgsl), those of 4 turned by a Hadamard matrix
// before; WIDTH is a multiple of 32 then. The token sees itself as later ones will.
//
// WIDTH, of a head, is a multiple of 16 up to 128, so that what an invocation reads can be written out.

struct Params {
    rows: u32,       // B · H · splits
    heads: u32,      // H, of queries
    kv_heads: u32,   // KV; heads is a multiple
    capacity: u32,   // positions the cache has room for
    window: u32,     // keys a query sees, its own included; 2³² − 1 for all
    scale: f32,
    splits: u32,     // workgroups of a head
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [B, H + 2 · KV, D]
@group(0) @binding(2) var<storage, read> angles: array<vec4<f32>>;         // [positions, D / 2], (cos, sin)
@group(0) @binding(3) var<storage, read> step: array<u32>;                 // [0]: positions before
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;        // [B, H, D]; SPLIT: [B, H, splits, D + 4]
#if K_BITS
@group(0) @binding(5) var<storage, read_write> keys: array<u32>;           // [B, KV, capacity] rows
@group(0) @binding(6) var<storage, read_write> values: array<u32>;         // [B, KV, capacity] rows
#else
@group(0) @binding(5) var<storage, read_write> keys: array<vec4<f32>>;     // [B, KV, capacity, D]
@group(0) @binding(6) var<storage, read_write> values: array<vec4<f32>>;   // [B, KV, capacity, D]
#endif

#include "rows.wgsl"

const QUADS: u32 = WIDTH / 4u;
const HALF: u32 = WIDTH / 8u;   // quads of half a head
// PARTS invocations score a key, so that their loads do not wait for each other.
const PARTS: u32 = 4u;
const SCORED: u32 = WG / PARTS;
const GROUPS: u32 = WG / QUADS;
var<workgroup> query: array<vec4<f32>, QUADS>;
var<workgroup> key: array<vec4<f32>, QUADS>;
var<workgroup> value: array<vec4<f32>, QUADS>;
var<workgroup> parts: array<f32, WG * PARTS>;
var<workgroup> scores: array<f32, WG>;
var<workgroup> accs: array<vec4<f32>, WG>;

// Four pairs by angles (cos, sin, cos, sin) twice: the first of each, then the second.
fn turn(a: vec4<f32>, b: vec4<f32>, low: vec4<f32>, high: vec4<f32>) -> mat2x4<f32> {
    let cosines = vec4<f32>(a.x, a.z, b.x, b.z);
    let sines = vec4<f32>(a.y, a.w, b.y, b.w);
    return mat2x4<f32>(low * cosines - high * sines, high * cosines + low * sines);
}

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
fn part_of_dot(row: u32, part: u32) -> f32 {
    var sum = dot(query[part], key_at(row, part));
#if WIDTH > 16
    sum += dot(query[part + 4u], key_at(row, part + 4u));
#endif
#if WIDTH > 32
    sum += dot(query[part + 8u], key_at(row, part + 8u));
#endif
#if WIDTH > 48
    sum += dot(query[part + 12u], key_at(row, part + 12u));
#endif
#if WIDTH > 64
    sum += dot(query[part + 16u], key_at(row, part + 16u));
#endif
#if WIDTH > 80
    sum += dot(query[part + 20u], key_at(row, part + 20u));
#endif
#if WIDTH > 96
    sum += dot(query[part + 24u], key_at(row, part + 24u));
#endif
#if WIDTH > 112
    sum += dot(query[part + 28u], key_at(row, part + 28u));
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
    let position = step[0];
    let cache = (batch * params.kv_heads + kv_head) * params.capacity;
    let token = batch * (params.heads + 2u * params.kv_heads);
    let key_at = (token + params.heads + kv_head) * QUADS;

    // Of invocations, so many have a pair of quads of the query, as many one of the key, and then each one
    // of the value.
    if (lane < 2u * HALF) {
        let i = lane % HALF;
        let at = select(key_at, (token + head) * QUADS, lane < HALF) + i;
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
    workgroupBarrier();
    let stores = split == 0u && head % group_heads == 0u && position < params.capacity;
#if K_BITS
    store_rows(cache + position, stores, lane);
#else
    if (stores && lane < QUADS) {
        keys[(cache + position) * QUADS + lane] = key[lane];
        values[(cache + position) * QUADS + lane] = value[lane];
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
    let share = (position - start + params.splits - 1u) / params.splits;
    let end = min(start + (split + 1u) * share, position);
    for (var first = start + split * share; first < end; first += WG) {
        let count = min(WG, end - first);
        let base = cache + first;
        for (var i = lane / PARTS; i < count; i += 2u * SCORED) {
            let far = min(i + SCORED, count - 1u);
            let near_part = part_of_dot(base + i, part);
            let far_part = part_of_dot(base + far, part);
            parts[i * PARTS + part] = near_part;
            if (i + SCORED < count) {
                parts[far * PARTS + part] = far_part;
            }
        }
        workgroupBarrier();
        let visible = lane < count;
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
        y[row * QUADS + lane] = total / sum;
#endif
    }
#if SPLIT
    if (lane == 0u) {
        y[index * (QUADS + 1u) + QUADS] = vec4<f32>(largest, sum, 0.0, 0.0);
    }
#endif
}
