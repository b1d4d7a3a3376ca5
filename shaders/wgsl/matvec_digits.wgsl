// A product for few rows of x (see few_rows.wgsl) in integers: a GPU multiplies and adds four bytes in one
// instruction, and turning codes into floats is what would take it longest. Either x comes ROUNDED (see
// round.wgsl), or each workgroup rounds it for itself, a slab at a time.
//
// A norm's gain is a factor of the sum, and so comes behind it. With TILE_Y = 4, which wants rounded rows,
// a team takes four rows of x at once.
//
// An invocation takes a chunk of its team's rows a turn. PAIRS, which wants rows that are rounded here: two
// neighbouring chunks, of rows that have an even number of them. AHEAD: while it multiplies, the weights of its next
// turn are on their way.

#include "few_rows.wgsl"
#include "round.wgsl"

#if ROUNDED
const SLAB: u32 = 0x7FFFFFFFu;
#else
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
        let rounded = round_half(normed(own, first), normed(other, second));
        slab[half * SLAB + chunk] = rounded.high;
        slab[(2u + half) * SLAB + chunk] = rounded.middle;
        slab[(4u + half) * SLAB + chunk] = rounded.low;
        if (half == 0u) {
            let squares = squares_of(own) + squares_of(other);
            abouts[chunk] = vec4<f32>(rounded.step, rounded.sum, squares, 0.0);
        }
    }
}
#endif

// A chunk of x: the digits of its halves, of which rounded rows have a third one where that is needed, and what its
// row in memory has of it besides.
struct Activations {
    high_a: vec4<u32>,
    high_b: vec4<u32>,
    middle_a: vec4<u32>,
    middle_b: vec4<u32>,
#if ROUNDED == 0
    low_a: vec4<u32>,
    low_b: vec4<u32>,
#endif
    about: vec4<f32>,
}

fn activations(base: u32, chunk: u32) -> Activations {
#if ROUNDED
    let at = base + chunk;
    let next = params.chunks;
    return Activations(
        x[at],
        x[at + next],
        x[at + 2u * next],
        x[at + 3u * next],
        bitcast<vec4<f32>>(x[at + 6u * next]),
    );
#else
    return Activations(
        slab[chunk],
        slab[chunk + SLAB],
        slab[chunk + 2u * SLAB],
        slab[chunk + 3u * SLAB],
        slab[chunk + 4u * SLAB],
        slab[chunk + 5u * SLAB],
        abouts[chunk],
    );
#endif
}

#if ROUNDED
// The third digits of a chunk that has them, by halves.
fn fine_digits(base: u32, chunk: u32) -> array<vec4<u32>, 2> {
    let at = base + chunk + 4u * params.chunks;
    return array(x[at], x[at + params.chunks]);
}
#endif

// What of a row of w belongs to a turn: words of codes, and those with the scales.
#if PAIRS
const TURN: u32 = 2u;   // chunks
// Groups as small as a chunk have a word each where they have a minimum, and share one where not.
const SHARED: bool = ASYM == 0u || GROUP > 32u;
struct Part { codes: Pair, scales: vec2<u32> }
#else
const TURN: u32 = 1u;
struct Part { codes: Chunk, scales: u32 }
#endif

fn group_of(row: u32, turn: u32) -> u32 {
    return row * params.groups + turn * TURN * WEIGHT_CHUNK / GROUP;
}

fn part(row: u32, turn: u32) -> Part {
    let group = group_of(row, turn);
    let first = affine_word(group);
#if PAIRS
    var second = first;
    if (!SHARED) {
        second = affine_word(group + 1u);
    }
    return Part(fetch_pair(row * (params.chunks / 2u) + turn), vec2<u32>(first, second));
#else
    return Part(fetch(row * params.chunks + turn), first);
#endif
}

// The same of each row of a team.
struct Parts {
    r0: Part,
    r1: Part,
#if ROWS == 4
    r2: Part,
    r3: Part,
#endif
}
fn parts(rows: Rows, turn: u32) -> Parts {
#if ROWS == 4
    return Parts(part(rows.x, turn), part(rows.y, turn), part(rows.z, turn), part(rows.w, turn));
#else
    return Parts(part(rows.x, turn), part(rows.y, turn));
#endif
}

// The sum over one digit. Written out, as is all that a loop over registers would do: compilers that count
// a loop's turns do not unroll it.
fn dots(a: vec4<u32>, b: vec4<u32>, codes_a: vec4<u32>, codes_b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, codes_a.x) + dot4I8Packed(a.y, codes_a.y)
        + dot4I8Packed(a.z, codes_a.z) + dot4I8Packed(a.w, codes_a.w)
        + dot4I8Packed(b.x, codes_b.x) + dot4I8Packed(b.y, codes_b.y)
        + dot4I8Packed(b.z, codes_b.z) + dot4I8Packed(b.w, codes_b.w);
}

// The codes of a chunk's halves, four a word.
struct Codes { a: vec4<u32>, b: vec4<u32> }
fn codes(words: Chunk) -> Codes {
    return Codes(
        vec4<u32>(packed(words, 0u), packed(words, 1u), packed(words, 2u), packed(words, 3u)),
        vec4<u32>(packed(words, 4u), packed(words, 5u), packed(words, 6u), packed(words, 7u)),
    );
}

fn product(words: Chunk, affine: vec2<f32>, xs: Activations) -> f32 {
    let codes = codes(words);
    let high = dots(xs.high_a, xs.high_b, codes.a, codes.b);
    let middle = dots(xs.middle_a, xs.middle_b, codes.a, codes.b);
#if ROUNDED
    let sum = xs.about.x * f32(high * 256 + middle);
#else
    let low = dots(xs.low_a, xs.low_b, codes.a, codes.b);
    let sum = xs.about.x * (f32(high) * 65536.0 + f32(middle * 256 + low));
#endif
#if ASYM
    return affine.x * sum + affine.y * xs.about.y;
#else
    return affine.x * (sum - ZERO * xs.about.y);
#endif
}

#if ROUNDED
// What third digits add, of which a step is so much.
fn fine_product(row: u32, w: Part, turn: u32, step: f32, low: array<vec4<u32>, 2>) -> f32 {
    let codes = codes(w.codes);
    let d = affine_of(w.scales, group_of(row, turn)).x;
    return d * (step * f32(dots(low[0], low[1], codes.a, codes.b)));
}
#endif

// The same of all chunks of a turn, of a row of w.
#if PAIRS
struct Turn { a: Activations, b: Activations }
fn product_of(row: u32, w: Part, turn: u32, xs: Turn) -> f32 {
    // The number of a group tells which half of a word it has: pairs of groups begin a word.
    let group = group_of(row, turn);
    let first = affine_of(w.scales.x, select(group, 0u, GROUP == 32u));
    let second = affine_of(w.scales.y, select(group, 1u, GROUP == 32u));
    return product(w.codes.a, first, xs.a) + product(w.codes.b, second, xs.b);
}
#else
struct Turn { a: Activations }
fn product_of(row: u32, w: Part, turn: u32, xs: Turn) -> f32 {
    return product(w.codes, affine_of(w.scales, group_of(row, turn)), xs.a);
}
#endif

// As over_team, of a single number.
fn team_sum(value: f32, lane: u32, size: u32) -> f32 {
#if SUBGROUPS
    if (size == params.team) {
        return subgroupAdd(value);
    }
#endif
    reduce_slots[lane] = value;
    workgroupBarrier();
    var total = 0.0;
    let first = lane / params.team * params.team;
    for (var i = first; i < first + params.team; i++) {
        total += reduce_slots[i];
    }
    return total;
}

// What an invocation has of a row of x.
struct Found {
    sums: Sums,
    squares: f32,
}

// With the products of a turn, counted from the row's beginning; its activations are at `place` behind `base`.
fn with_turn(found: Found, rows: Rows, w: Parts, turn: u32, base: u32, place: u32) -> Found {
#if PAIRS
    let xs = Turn(activations(base, place), activations(base, place + 1u));
    let squares = xs.a.about.z + xs.b.about.z;
#else
    let xs = Turn(activations(base, place));
    let squares = xs.a.about.z;
#endif
    var products: Sums;
    products.x = product_of(rows.x, w.r0, turn, xs);
    products.y = product_of(rows.y, w.r1, turn, xs);
#if ROWS == 4
    products.z = product_of(rows.z, w.r2, turn, xs);
    products.w = product_of(rows.w, w.r3, turn, xs);
#endif
#if ROUNDED
    // Few chunks have a third digit: codes are taken apart once more for those.
    if (xs.a.about.w > 0.0) {
        let low = fine_digits(base, place);
        products.x += fine_product(rows.x, w.r0, turn, xs.a.about.w, low);
        products.y += fine_product(rows.y, w.r1, turn, xs.a.about.w, low);
#if ROWS == 4
        products.z += fine_product(rows.z, w.r2, turn, xs.a.about.w, low);
        products.w += fine_product(rows.w, w.r3, turn, xs.a.about.w, low);
#endif
    }
#endif
    return Found(found.sums + products, found.squares + squares);
}

// Writes what a team has found of row m of x.
fn finish(m: u32, first: u32, found: Found, lane: u32, size: u32) {
    var total = over_team(found.sums, lane, size);
    if (params.has_norm != 0u) {
        let mean = team_sum(found.squares, lane, size) / f32(params.columns);
        total *= 1.0 / sqrt(mean + params.eps);
    }
    if (m < params.m) {
        store_output(m, first, lane % params.team, total + biases(rows_from(first), 0u));
    }
}

// Where a row of x begins; rows past the end repeat the last one.
fn base_of(m: u32) -> u32 {
#if ROUNDED
    return min(m, params.m - 1u) * params.chunks * ROUNDED_QUADS;
#else
    return m * params.chunks * 8u;
#endif
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
    let member = lane % params.team;
    let first = (grid_index(workgroup, grid) * WG + lane) / params.team * OUTPUTS;
    let rows = rows_from(first);

    var found0 = Found(Sums(0.0), 0.0);
#if TILE_Y == 4
    var found1 = found0;
    var found2 = found0;
    var found3 = found0;
#endif
    for (var start = 0u; start < params.chunks; start += min(SLAB, params.chunks)) {
        let count = min(SLAB, params.chunks - start);
        let turns = count / TURN;
        let first_turn = start / TURN;
#if AHEAD
        var next = parts(rows, first_turn + min(member, turns - 1u));
#endif
#if ROUNDED == 0
        round_slab(base_of(m), start, count, lane);
        workgroupBarrier();
#endif
        for (var turn = member; turn < turns; turn += params.team) {
#if AHEAD
            let w = next;
            next = parts(rows, first_turn + min(turn + params.team, turns - 1u));
#else
            let w = parts(rows, first_turn + turn);
#endif
            let place = turn * TURN;
            found0 = with_turn(found0, rows, w, first_turn + turn, base_of(m), place);
#if TILE_Y == 4
            found1 = with_turn(found1, rows, w, first_turn + turn, base_of(m + 1u), place);
            found2 = with_turn(found2, rows, w, first_turn + turn, base_of(m + 2u), place);
            found3 = with_turn(found3, rows, w, first_turn + turn, base_of(m + 3u), place);
#endif
        }
#if ROUNDED == 0
        if (start + SLAB < params.chunks) {
            workgroupBarrier();
        }
#endif
    }
    finish(m, first, found0, lane, size);
#if TILE_Y == 4
    // The next row's sums take the place of these.
    workgroupBarrier();
    finish(m + 1u, first, found1, lane, size);
    workgroupBarrier();
    finish(m + 2u, first, found2, lane, size);
    workgroupBarrier();
    finish(m + 3u, first, found3, lane, size);
#endif
}
