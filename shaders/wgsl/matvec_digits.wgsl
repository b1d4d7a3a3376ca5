// A product for few rows of x (see few_rows.wgsl) in integers: a GPU multiplies and adds four bytes in one
// instruction, and turning codes into floats is what would take it longest. Either x comes ROUNDED (see
// round.wgsl), or each workgroup rounds it for itself, a slab at a time.
//
// A norm's gain is a factor of the sum, and so comes behind it. With TILE_Y = 4, which wants rounded rows,
// a team takes four rows of x at once.

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

// A chunk of x: the digits of its halves, and what its row in memory has of it besides.
struct Activations {
    high_a: vec4<u32>,
    high_b: vec4<u32>,
    middle_a: vec4<u32>,
    middle_b: vec4<u32>,
    low_a: vec4<u32>,
    low_b: vec4<u32>,
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
        x[at + 4u * next],
        x[at + 5u * next],
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

// What of a row of w belongs to a chunk.
struct Part { codes: Chunk, affine: vec2<f32> }
fn part(row: u32, chunk: u32) -> Part {
    let group = row * params.groups + chunk * WEIGHT_CHUNK / GROUP;
    return Part(fetch(row * params.chunks + chunk), affine(group));
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
fn parts(rows: Rows, chunk: u32) -> Parts {
#if ROWS == 4
    return Parts(part(rows.x, chunk), part(rows.y, chunk), part(rows.z, chunk), part(rows.w, chunk));
#else
    return Parts(part(rows.x, chunk), part(rows.y, chunk));
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

fn product(w: Part, xs: Activations) -> f32 {
    let a = vec4<u32>(packed(w.codes, 0u), packed(w.codes, 1u), packed(w.codes, 2u), packed(w.codes, 3u));
    let b = vec4<u32>(packed(w.codes, 4u), packed(w.codes, 5u), packed(w.codes, 6u), packed(w.codes, 7u));
    let high = dots(xs.high_a, xs.high_b, a, b);
    let middle = dots(xs.middle_a, xs.middle_b, a, b);
    let low = dots(xs.low_a, xs.low_b, a, b);
    let sum = f32(high) * 65536.0 + f32(middle * 256 + low);
    return w.affine.x * (xs.about.x * sum) + w.affine.y * xs.about.y;
}

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

fn with_chunk(found: Found, w: Parts, base: u32, chunk: u32) -> Found {
    let xs = activations(base, chunk);
#if ROWS == 4
    let products = Sums(product(w.r0, xs), product(w.r1, xs), product(w.r2, xs), product(w.r3, xs));
#else
    let products = Sums(product(w.r0, xs), product(w.r1, xs));
#endif
    return Found(found.sums + products, found.squares + xs.about.z);
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
#if ROUNDED == 0
        round_slab(base_of(m), start, count, lane);
        workgroupBarrier();
#endif
        for (var chunk = member; chunk < count; chunk += params.team) {
            let w = parts(rows, start + chunk);
            found0 = with_chunk(found0, w, base_of(m), chunk);
#if TILE_Y == 4
            found1 = with_chunk(found1, w, base_of(m + 1u), chunk);
            found2 = with_chunk(found2, w, base_of(m + 2u), chunk);
            found3 = with_chunk(found3, w, base_of(m + 3u), chunk);
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
