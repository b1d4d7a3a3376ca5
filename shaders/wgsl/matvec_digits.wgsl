// A product for one row of x in integers (see digits.wgsl), of which each workgroup rounds a slab at a time for itself
// (see round.wgsl): where there are few outputs, a dispatch more would cost longer. While an invocation multiplies, the
// weights of its next turn are on their way.

#include "digits.wgsl"

// Chunks of x that are in workgroup memory at a time: they fit 16 KiB beside the sums.
const SLAB: u32 = 96u;
var<workgroup> slab: array<vec4<u32>, 6u * SLAB>;
var<workgroup> abouts: array<vec4<f32>, SLAB>;

fn four(base: u32, at: u32) -> mat4x4<f32> {
    let i = base + at;
    return mat4x4<f32>(x[i], x[i + 1u], x[i + 2u], x[i + 3u]);
}

fn normed(values: mat4x4<f32>, at: u32) -> mat4x4<f32> {
    if (params.has_norm == 0u) {
        return values;
    }
    return scale_columns(values, mat4x4<f32>(norm[at], norm[at + 1u], norm[at + 2u], norm[at + 3u]));
}

// Rounds `count` chunks of the row at `base` from chunk `start` on, half a chunk an invocation.
fn round_slab(base: u32, start: u32, count: u32, lane: u32) {
    for (var i = lane; i < 2u * count; i += WG) {
        let half = i % 2u;
        let chunk = i / 2u;
        let first = (start + chunk) * 8u + half * 4u;
        let second = (start + chunk) * 8u + (1u - half) * 4u;
        let own = four(base, first);
        let other = four(base, second);
        let rounded = round_finely(normed(own, first), normed(other, second));
        slab[half * SLAB + chunk] = rounded.high;
        slab[(2u + half) * SLAB + chunk] = rounded.middle;
        slab[(4u + half) * SLAB + chunk] = rounded.low;
        if (half == 0u) {
            let squares = squares_of(own) + squares_of(other);
            abouts[chunk] = vec4<f32>(rounded.step, rounded.sum, squares, 0.0);
        }
    }
}

// A chunk of x: three digits of its halves, and what its row has of it besides.
struct Activations {
    high_a: vec4<u32>,
    high_b: vec4<u32>,
    middle_a: vec4<u32>,
    middle_b: vec4<u32>,
    low_a: vec4<u32>,
    low_b: vec4<u32>,
    about: vec4<f32>,
}
fn activations(chunk: u32) -> Activations {
    return Activations(
        slab[chunk],
        slab[chunk + SLAB],
        slab[chunk + 2u * SLAB],
        slab[chunk + 3u * SLAB],
        slab[chunk + 4u * SLAB],
        slab[chunk + 5u * SLAB],
        abouts[chunk],
    );
}

fn product(words: Chunk, affine: vec2<f32>, xs: Activations) -> f32 {
    let codes = codes(words);
    let high = dots(xs.high_a, xs.high_b, codes);
    let middle = dots(xs.middle_a, xs.middle_b, codes);
    let low = dots(xs.low_a, xs.low_b, codes);
    let total = xs.about.x * STEP * (f32(high) * 65536.0 + f32(middle * 256 + low));
    return from_zero(affine, total, xs.about.y);
}

#include "turns.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
#if SUBGROUPS
    @builtin(subgroup_size) size: u32,
#endif
) {
#if SUBGROUPS == 0
    let size = 1u;
#endif
    let m = workgroup.z;
    let member = lane % params.team;
    let first = (grid_index(workgroup, grid) * WG + lane) / params.team * OUTPUTS;
    let rows = rows_from(first);
    var sums = Sums(0.0);
    var squares = 0.0;
    for (var start = 0u; start < params.chunks; start += SLAB) {
        let count = min(SLAB, params.chunks - start);
        let turns = count / TURN;
        let first_turn = start / TURN;
        var next = parts(rows, first_turn + min(member, turns - 1u));
        round_slab(m * params.chunks * 8u, start, count, lane);
        workgroupBarrier();
        for (var turn = member; turn < turns; turn += params.team) {
            let w = next;
            next = parts(rows, first_turn + min(turn + params.team, turns - 1u));
            let place = turn * TURN;
            let xs = activations(place);
            sums += first_products(rows, w, first_turn + turn, xs);
            squares += xs.about.z;
#if PAIRS
            let others = activations(place + 1u);
            sums += second_products(rows, w, first_turn + turn, others);
            squares += others.about.z;
#endif
        }
        if (start + SLAB < params.chunks) {
            workgroupBarrier();
        }
    }
    let total = over_team(sums, lane, size) * gain(squares, lane, size);
#if LEAVES
    leave_output(first, member, lane, total + biases(rows, 0u));
#else
    store_output(m, first, member, total + biases(rows, 0u));
#endif
}
