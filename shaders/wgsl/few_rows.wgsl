// A product for few rows of x, y[m, n] = Σₖ f(x)[m, k] · w[n, k], with what stands before and behind such
// a product in a layer: f may be an RMS norm, and to the sum may come a bias and an addend.
//
// A team of invocations computes ROWS rows of w, each of them some chunks of K. Rows of y are N_TOTAL
// apart, so that shards of a tall matrix write side by side.
//
// GATED: w has twice the rows of y, and y is silu(the first half) times the second. Half of the rows of a
// team are gates.
//
// LEAVES: y is left rounded for the product behind this one (leave.wgsl).
//
// ROUNDED: x comes rounded, its norm's weight and the squares for its gain included (see round.wgsl).

struct Params {
    rows: u32,       // N of this shard; of y, if GATED
    team: u32,       // invocations of a team: a power of two that divides WG
    chunks: u32,     // K / 32
    groups: u32,     // groups in a row
    y_stride: u32,   // N of the whole matrix
    y_offset: u32,   // first n of this shard
    columns: u32,    // K
    has_norm: u32,
    has_bias: u32,
    has_addend: u32,
    eps: f32,        // of the norm
    m: u32,          // rows of x
}

@group(0) @binding(0) var<uniform> params: Params;
#if ROUNDED == 0
@group(0) @binding(6) var<storage, read> norm: array<vec4<f32>>;      // [K / 4], if has_norm
#endif
@group(0) @binding(7) var<storage, read> addend: array<f32>;          // [M, N_TOTAL], if has_addend
#include "grid.wgsl"
#include "reduce.wgsl"
#include "product.wgsl"
#if GATED
#include "activate.wgsl"
const OUTPUTS: u32 = ROWS / 2u;   // of a team
#else
const OUTPUTS: u32 = ROWS;        // of a team
#endif

// A number for each row of a team.
#if ROWS == 2
alias Sums = vec2<f32>;
alias Rows = vec2<u32>;
const COUNTING: Rows = Rows(0u, 1u);
#else
alias Sums = vec4<f32>;
alias Rows = vec4<u32>;
const COUNTING: Rows = Rows(0u, 1u, 2u, 3u);
#endif
var<workgroup> sums: array<Sums, WG>;

// The rows of a team whose first output this is. Those past the end repeat the last one, so that every
// invocation takes the same path.
fn rows_from(first: u32) -> Rows {
#if GATED
#if ROWS == 2
    let gate = min(first, params.rows - 1u);
    return Rows(gate, gate + params.rows);
#else
    let gates = min(vec2<u32>(first, first + 1u), vec2<u32>(params.rows - 1u));
    return Rows(gates, gates + params.rows);
#endif
#else
    return min(Rows(first) + COUNTING, Rows(params.rows - 1u));
#endif
}

// The same where rows past the end may be read: what lies there, and no further than the buffer.
fn rows_behind(first: u32) -> Rows {
#if GATED
#if ROWS == 2
    return Rows(first, first + params.rows);
#else
    let gates = vec2<u32>(first, first + 1u);
    return Rows(gates, gates + params.rows);
#endif
#else
    return Rows(first) + COUNTING;
#endif
}

// What the sums begin with, of which one of a team has the biases.
fn biases(rows: Rows, member: u32) -> Sums {
    if (params.has_bias == 0u || member != 0u) {
        return Sums(0.0);
    }
    let n = rows + params.y_offset;
#if ROWS == 2
    return Sums(bias[n.x], bias[n.y]);
#else
    return Sums(bias[n.x], bias[n.y], bias[n.z], bias[n.w]);
#endif
}

// The sums of a team, for each of its invocations. Barriers are what software adapters pay for most.
fn over_team(value: Sums, lane: u32, size: u32) -> Sums {
#if SUBGROUPS
    if (size == params.team) {
        return subgroupAdd(value);
    }
    if (size < params.team) {
        let partial = subgroupAdd(value);
        if (lane % size == 0u) {
            sums[lane / size] = partial;
        }
        workgroupBarrier();
        let count = params.team / size;
        var total = Sums(0.0);
        for (var i = 0u; i < count; i++) {
            total += sums[lane / params.team * count + i];
        }
        return total;
    }
#endif
#if SUBGROUPS
    if (size > params.team) {
        var total = value;
        for (var span = 1u; span < params.team; span <<= 1u) {
            total += subgroupShuffleXor(total, span);
        }
        return total;
    }
#endif
    sums[lane] = value;
    workgroupBarrier();
    for (var span = params.team / 2u; span > 0u; span >>= 1u) {
        if (lane % params.team < span) {
            sums[lane] += sums[lane + span];
        }
        workgroupBarrier();
    }
    return sums[lane / params.team * params.team];
}

// The output of this member of a team, without an addend.
fn output_of(total: Sums, member: u32) -> f32 {
#if GATED
    return activate(total[member]) * total[member + OUTPUTS];
#else
    return total[member];
#endif
}

#if LEAVES == 0
// Writes it.
fn store_output(m: u32, first: u32, member: u32, total: Sums) {
    if (member >= OUTPUTS || first + member >= params.rows) {
        return;
    }
    let at = m * params.y_stride + params.y_offset + first + member;
    var value = output_of(total, member);
    if (params.has_addend != 0u) {
        value += addend[at];
    }
    y[at] = value;
}
#endif
