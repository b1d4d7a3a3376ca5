// y = softmax(scale · q kᵀ + masks) v for many queries: a workgroup has 32 of a head, and goes over the
// keys 32 at a time (online softmax in tiles, Dao et al. 2022), so that keys and values are read once for
// 32 queries. Heads are up to 128 wide, a multiple of 4, and taken in slices of 32.
//
// Of the 128 invocations one has the queries y and y + 16 against the keys x + 8j, j < 4, and then, of the same
// queries, the columns 4x to 4x + 3 of each slice of the output. Two queries are the lanes of a vector for
// scores, and the columns of a matrix for outputs.

#include "attention_inputs.wgsl"
#include "grid.wgsl"

const SIDE: u32 = 8u;   // quads of a slice, and invocations along the keys
const ROWS: u32 = 16u;  // invocations along the queries
const TILE: u32 = 32u;  // queries, keys, and elements of a slice
// Rows of quads lie one further apart than they need be, so that those that are written together, and
// those that are read together, lie in different banks.
const STRIDE: u32 = TILE + 1u;
const WEIGHT_STRIDE: u32 = ROWS + 1u;
const HIDDEN: f32 = -3.0e38;

var<workgroup> queries: array<vec4<f32>, SIDE * STRIDE>;       // [quads of a slice, queries]
var<workgroup> others: array<vec4<f32>, SIDE * STRIDE>;        // the same of keys; [keys, quads] of values
var<workgroup> weights: array<vec2<f32>, TILE * WEIGHT_STRIDE>; // [keys, y] of two queries each
var<workgroup> found: array<vec2<f32>, SIDE * ROWS>;           // of each invocation

// Where an invocation is among them.
struct Place {
    lane: u32,
    x: u32,
    y: u32,
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = grid_index(workgroup, grid);
    if (tile < params.rows) {
        let blocks = (params.tokens + TILE - 1u) / TILE;
        let first = tile / params.heads % blocks * TILE;
        attend(
            first,
            (tile / (params.heads * blocks) * params.tokens) * params.heads + tile % params.heads,
            Place(lane, lane % SIDE, lane / SIDE),
        );
    }
}

// The 32 queries from `first` on; `row` is that of the sequence's first query.
fn attend(first: u32, row: u32, place: Place) {
    let last = min(first + TILE, params.tokens) - 1u;
    let slices = (params.width + TILE - 1u) / TILE;
    let kv_base = query_of(row).kv_base;
    let ts = min(vec2<u32>(first + place.y) + vec2<u32>(0u, ROWS), vec2<u32>(last));
    let q0 = query_of(row + ts.x * params.heads);
    let q1 = query_of(row + ts.y * params.heads);
    let starts = vec2<u32>(q0.start, q1.start);
    let ends = vec2<u32>(q0.seen, q1.seen);
    let end = query_of(row + last * params.heads).seen;

    var largest = vec2<f32>(HIDDEN);
    var sum = vec2<f32>(0.0);
    var acc0 = mat2x4<f32>();
    var acc1 = mat2x4<f32>();
    var acc2 = mat2x4<f32>();
    var acc3 = mat2x4<f32>();
    for (var key = query_of(row + first * params.heads).start; key < end; key += TILE) {
        // Values of the tile before are read until here.
        workgroupBarrier();
        // The product of the queries and the keys.
        var s0 = vec2<f32>(0.0);
        var s1 = vec2<f32>(0.0);
        var s2 = vec2<f32>(0.0);
        var s3 = vec2<f32>(0.0);
        for (var slice = 0u; slice < slices; slice++) {
            load_products(row, first, last, kv_base, key, end - 1u, slice, place.lane);
            workgroupBarrier();
            for (var d = 0u; d < SIDE; d++) {
                let at = d * STRIDE;
                let a0 = queries[at + place.y];
                let a1 = queries[at + place.y + ROWS];
                let b0 = others[at + place.x];
                let b1 = others[at + place.x + 8u];
                let b2 = others[at + place.x + 16u];
                let b3 = others[at + place.x + 24u];
                s0 += vec2<f32>(dot(a0, b0), dot(a1, b0));
                s1 += vec2<f32>(dot(a0, b1), dot(a1, b1));
                s2 += vec2<f32>(dot(a0, b2), dot(a1, b2));
                s3 += vec2<f32>(dot(a0, b3), dot(a1, b3));
            }
            workgroupBarrier();
        }
#if BIASED
        let biases = vec2<u32>(q0.bias_base, q1.bias_base);
#else
        let biases = vec2<u32>(0u);
#endif
        s0 = masked(s0, key + place.x, starts, ends, q0.mask_base, biases);
        s1 = masked(s1, key + place.x + 8u, starts, ends, q0.mask_base, biases);
        s2 = masked(s2, key + place.x + 16u, starts, ends, q0.mask_base, biases);
        s3 = masked(s3, key + place.x + 24u, starts, ends, q0.mask_base, biases);

        // The largest score of each query so far, and the weights of its keys by that.
        found[place.lane] = max(max(s0, s1), max(s2, s3));
        workgroupBarrier();
        let at = place.y * SIDE;
        let top = max(largest, max(
            max(max(found[at], found[at + 1u]), max(found[at + 2u], found[at + 3u])),
            max(max(found[at + 4u], found[at + 5u]), max(found[at + 6u], found[at + 7u])),
        ));
        let w0 = weight_of(s0, top);
        let w1 = weight_of(s1, top);
        let w2 = weight_of(s2, top);
        let w3 = weight_of(s3, top);
        weights[place.x * WEIGHT_STRIDE + place.y] = w0;
        weights[(place.x + 8u) * WEIGHT_STRIDE + place.y] = w1;
        weights[(place.x + 16u) * WEIGHT_STRIDE + place.y] = w2;
        weights[(place.x + 24u) * WEIGHT_STRIDE + place.y] = w3;
        let rescale = exp(max(largest - top, vec2<f32>(-80.0)));
        sum = sum * rescale + w0 + w1 + w2 + w3;
        largest = top;

        // The product of the weights and the values.
        acc0 = with_values(rescaled(acc0, rescale), kv_base, key, end - 1u, 0u, place);
        if (slices > 1u) {
            acc1 = with_values(rescaled(acc1, rescale), kv_base, key, end - 1u, 1u, place);
        }
        if (slices > 2u) {
            acc2 = with_values(rescaled(acc2, rescale), kv_base, key, end - 1u, 2u, place);
        }
        if (slices > 3u) {
            acc3 = with_values(rescaled(acc3, rescale), kv_base, key, end - 1u, 3u, place);
        }
    }

    // Each invocation has summed up its own keys.
    workgroupBarrier();
    found[place.lane] = sum;
    workgroupBarrier();
    let at = place.y * SIDE;
    let total = found[at] + found[at + 1u] + found[at + 2u] + found[at + 3u]
        + found[at + 4u] + found[at + 5u] + found[at + 6u] + found[at + 7u];
    let scale = select(vec2<f32>(0.0), 1.0 / total, total > vec2<f32>(0.0));
    for (var slice = 0u; slice < slices; slice++) {
        var acc = acc0;
        if (slice == 1u) {
            acc = acc1;
        }
        if (slice == 2u) {
            acc = acc2;
        }
        if (slice == 3u) {
            acc = acc3;
        }
        let quad = slice * SIDE + place.x;
        store(first + place.y, last, q0.base, quad, acc[0] * scale.x);
        store(first + place.y + ROWS, last, q1.base, quad, acc[1] * scale.y);
    }
}

// Brings a slice of 32 queries and of 32 keys; what is beyond the last of them is not kept, and what is
// beyond the width counts as zero.
fn load_products(
    row: u32, first: u32, last: u32, kv_base: u32, key: u32, last_key: u32, slice: u32, lane: u32,
) {
    let quad = slice * SIDE + lane % SIDE;
    let inside = quad * 4u < params.width;
    for (var at = lane / SIDE; at < TILE; at += ROWS) {
        var query = vec4<f32>(0.0);
        var other = vec4<f32>(0.0);
        if (inside) {
            let q_row = row + min(first + at, last) * params.heads;
            query = q[q_row * (params.width / 4u) + quad] * params.scale;
            other = key_of(kv_base + min(key + at, last_key) * params.kv_token, quad);
        }
        queries[lane % SIDE * STRIDE + at] = query;
        others[lane % SIDE * STRIDE + at] = other;
    }
}

// Scores of two queries for a key, those that do not see it with what leaves no weight.
fn masked(
    scores: vec2<f32>, key: u32, starts: vec2<u32>, ends: vec2<u32>, mask_base: u32, biases: vec2<u32>,
) -> vec2<f32> {
    var score = scores;
    let keys = vec2<u32>(key);
    var visible = (keys >= starts) & (keys < ends);
#if PADDED
    let within = min(key, params.mask_stride - 1u);
    visible = visible & vec2<bool>(mask[mask_base + within] > 0.5);
#endif
#if BIASED
    let columns = vec2<u32>(min(key, params.bias_columns - 1u)) + biases;
    score += vec2<f32>(bias[columns.x], bias[columns.y]);
#endif
    return select(vec2<f32>(HIDDEN), score, visible);
}

fn weight_of(score: vec2<f32>, top: vec2<f32>) -> vec2<f32> {
    let weight = exp(max(score - top, vec2<f32>(-80.0)));
    return select(vec2<f32>(0.0), weight, score > vec2<f32>(-2.9e38));
}

fn rescaled(acc: mat2x4<f32>, by: vec2<f32>) -> mat2x4<f32> {
    return mat2x4<f32>(acc[0] * by.x, acc[1] * by.y);
}

// The sums of two queries with 32 more values in a slice.
fn with_values(
    acc: mat2x4<f32>, kv_base: u32, key: u32, last_key: u32, slice: u32, place: Place,
) -> mat2x4<f32> {
    workgroupBarrier();
    let quad = slice * SIDE + place.x;
    for (var at = place.y; at < TILE; at += ROWS) {
        var value = vec4<f32>(0.0);
        if (quad * 4u < params.width) {
            value = value_of(kv_base + min(key + at, last_key) * params.kv_token, quad);
        }
        others[at * SIDE + place.x] = value;
    }
    workgroupBarrier();
    var acc0 = acc[0];
    var acc1 = acc[1];
    for (var at = 0u; at < TILE; at++) {
        let weight = weights[at * WEIGHT_STRIDE + place.y];
        let value = others[at * SIDE + place.x];
        acc0 += weight.x * value;
        acc1 += weight.y * value;
    }
    return mat2x4<f32>(acc0, acc1);
}

fn store(t: u32, last: u32, base: u32, quad: u32, values: vec4<f32>) {
    if (t <= last && quad * 4u < params.width) {
        y[base / 4u + quad] = values;
    }
}
