// A product for one row of x that round_rows has rounded (see digits.wgsl and round.wgsl). It is all that a language
// model does for a token, and what it waits for is memory: the weights of the next turn are on their way while it
// multiplies, and rows past the end of the matrix are read as if they were there, as what comes of them is not kept
// and no read leaves its buffer. How many rows a team has, and the rest of what is told apart by bits here, is what
// was fastest on an H200: there, registers decide.

#include "digits.wgsl"

#if BITS == 2
// Codes are met where they lie in a byte, as those of three bits are everywhere.
fn total_of(words: Chunk, xs: Activations) -> f32 {
    let upper = vec2<u32>(words.x >> 4u, words.y >> 4u);
    let ones_a = words & vec2<u32>(0x03030303u);
    let fours_a = words & vec2<u32>(0x0C0C0C0Cu);
    let ones_b = upper & vec2<u32>(0x03030303u);
    let fours_b = upper & vec2<u32>(0x0C0C0C0Cu);
    let high = dot4I8Packed(xs.high_a.x, ones_a.x) + dot4I8Packed(xs.high_a.y, ones_a.y)
        + dot4I8Packed(xs.high_b.x, ones_b.x) + dot4I8Packed(xs.high_b.y, ones_b.y);
    let middle = dot4I8Packed(xs.middle_a.x, ones_a.x) + dot4I8Packed(xs.middle_a.y, ones_a.y)
        + dot4I8Packed(xs.middle_b.x, ones_b.x) + dot4I8Packed(xs.middle_b.y, ones_b.y);
    let high_fours = dot4I8Packed(xs.high_a.z, fours_a.x) + dot4I8Packed(xs.high_a.w, fours_a.y)
        + dot4I8Packed(xs.high_b.z, fours_b.x) + dot4I8Packed(xs.high_b.w, fours_b.y);
    let middle_fours = dot4I8Packed(xs.middle_a.z, fours_a.x) + dot4I8Packed(xs.middle_a.w, fours_a.y)
        + dot4I8Packed(xs.middle_b.z, fours_b.x) + dot4I8Packed(xs.middle_b.w, fours_b.y);
    return 0.25 * f32((high * 4 + high_fours) * 256 + (middle * 4 + middle_fours));
}
#else
fn total_of(words: Chunk, xs: Activations) -> f32 {
    return sum_of_digits(words, xs);
}
#endif

fn product(words: Chunk, affine: vec2<f32>, xs: Activations) -> f32 {
    var total = xs.about.x * total_of(words, xs);
    if (xs.about.w != 0.0) {
        total += apart(words, xs.about);
    }
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
    let member = lane % params.team;
    let first = (grid_index(workgroup, grid) * WG + lane) / params.team * OUTPUTS;
    let rows = rows_behind(first);
    let turns = params.chunks / TURN;
    var sums = Sums(0.0);
    var squares = 0.0;
    var next = parts(rows, min(member, turns - 1u));
    for (var turn = member; turn < turns; turn += params.team) {
        let w = next;
        next = parts(rows, min(turn + params.team, turns - 1u));
        let xs = activations_at(0u, turn * TURN);
        sums += first_products(rows, w, turn, xs);
        squares += xs.about.z;
#if PAIRS
        let others = activations_at(0u, turn * TURN + 1u);
        sums += second_products(rows, w, turn, others);
        squares += others.about.z;
#endif
    }
    let worth = gain(squares, lane, size);
    let total = over_team(sums, lane, size) * worth;
#if LEAVES
    leave_output(first, member, lane, total + biases(rows, 0u));
#else
    store_output(0u, first, member, total + biases(rows, 0u));
#endif
}
