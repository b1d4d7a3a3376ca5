// A product for several rows of x that round_rows has rounded (see digits.wgsl): a team takes four of them at once.

#include "digits.wgsl"

fn product(row: u32, w: Part, turn: u32, xs: Activations) -> f32 {
    var total = xs.about.x * sum_of_digits(w.codes, xs);
    if (xs.about.w != 0.0) {
        total += apart(w.codes, xs.about);
    }
    return from_zero(affine_first(w, group_of(row, turn)), total, xs.about.y);
}

// What an invocation has of a row of x.
struct Found {
    sums: Sums,
    squares: f32,
}

fn with_turn(found: Found, rows: Rows, w: Parts, turn: u32, base: u32) -> Found {
    let xs = activations_at(base, turn);
    let products = Sums(
        product(rows.x, w.r0, turn, xs),
        product(rows.y, w.r1, turn, xs),
        product(rows.z, w.r2, turn, xs),
        product(rows.w, w.r3, turn, xs),
    );
    return Found(found.sums + products, found.squares + xs.about.z);
}

// Writes what a team has found of row m of x.
fn finish(m: u32, first: u32, found: Found, lane: u32, size: u32) {
    let worth = gain(found.squares, lane, size);
    let total = over_team(found.sums, lane, size) * worth;
    if (m < params.m) {
        store_output(m, first, lane % params.team, total + biases(rows_from(first), 0u));
    }
}

// Where a row of x begins; rows past the end repeat the last one.
fn base_of(m: u32) -> u32 {
    return min(m, params.m - 1u) * params.chunks * ROUNDED_QUADS;
}

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
    let m = workgroup.z * TILE_Y;
    let first = (grid_index(workgroup, grid) * WG + lane) / params.team * OUTPUTS;
    let rows = rows_from(first);
    var found0 = Found(Sums(0.0), 0.0);
    var found1 = found0;
    var found2 = found0;
    var found3 = found0;
    for (var turn = lane % params.team; turn < params.chunks; turn += params.team) {
        let w = parts(rows, turn);
        found0 = with_turn(found0, rows, w, turn, base_of(m));
        found1 = with_turn(found1, rows, w, turn, base_of(m + 1u));
        found2 = with_turn(found2, rows, w, turn, base_of(m + 2u));
        found3 = with_turn(found3, rows, w, turn, base_of(m + 3u));
    }
    finish(m, first, found0, lane, size);
    // The next row's sums take the place of these.
    workgroupBarrier();
    finish(m + 1u, first, found1, lane, size);
    workgroupBarrier();
    finish(m + 2u, first, found2, lane, size);
    workgroupBarrier();
    finish(m + 3u, first, found3, lane, size);
}
