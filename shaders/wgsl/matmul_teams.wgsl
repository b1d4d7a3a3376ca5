// y[m, n] = Σₖ x[m, k] · w[n, k] (+ bias[n]), for so few rows that a GPU would wait for memory more than it
// computes: four teams of 64 invocations share the sums of a tile of 32 × 32 outputs, 4 × 4 an invocation. Each
// takes every fourth slab of 16 along K, as in matmul_slabs.wgsl, and in the end they add up.

#include "matmul_fetch.wgsl"

const TEAM: u32 = 64u;
const TEAMS: u32 = WG / TEAM;
const SIDE: u32 = 8u;           // quads of a tile's side
const SLAB: u32 = 16u * SIDE;   // quads of a slab of x, and of one of w
// Of each team a slab of x and one of w, K-major; then of each team four rows of sums.
var<workgroup> shared_quads: array<vec4<f32>, TEAMS * SLAB * 2u>;

// Where a quad of row k lies in a slab. Quads that are written together would all be in one bank: those of
// every fourth row change places.
fn place(k: u32, quad: u32) -> u32 {
    return k * SIDE + (quad ^ ((k / 4u) * 2u));
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let m0 = workgroup.y * TILE_Y;
    let n0 = workgroup.x * TILE_X;
    let team = index / TEAM;
    let lane = index % TEAM;
    let m_quad = lane / SIDE;
    let n_quad = lane % SIDE;
    // In loading, half of a team fetches x and half w: four neighbours along K (k_quad) of four rows (quad).
    let loads_x = lane < TEAM / 2u;
    let item = lane % (TEAM / 2u);
    let k_quad = item % 4u;
    let quad = item / 4u;
    let x_rows = x_rows_from(m0 + quad * 4u);
    let w_rows = four(n0 + quad * 4u, params.rows);
    let x_slab = team * SLAB * 2u;
    let w_slab = x_slab + SLAB;
    let at = select(w_slab, x_slab, loads_x);

    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    var xs: mat4x4<f32>;
    var ws: Codes;
    let slabs = params.chunks * 2u;
    if (team < slabs) {
        if (loads_x) {
            xs = fetch_x(x_rows, team * 4u + k_quad);
        } else {
            ws = fetch_w(w_rows, team * 4u + k_quad);
        }
    }
    for (var first = 0u; first < slabs; first += TEAMS) {
        let slab = first + team;
        if (slab < slabs) {
            var turned: mat4x4<f32>;
            if (loads_x) {
                turned = transpose(xs);
            } else {
                turned = transpose(numbers(ws, w_rows, slab * 4u + k_quad));
            }
            shared_quads[at + place(k_quad * 4u, quad)] = turned[0];
            shared_quads[at + place(k_quad * 4u + 1u, quad)] = turned[1];
            shared_quads[at + place(k_quad * 4u + 2u, quad)] = turned[2];
            shared_quads[at + place(k_quad * 4u + 3u, quad)] = turned[3];
        }
        workgroupBarrier();
        if (slab + TEAMS < slabs) {
            if (loads_x) {
                xs = fetch_x(x_rows, (slab + TEAMS) * 4u + k_quad);
            } else {
                ws = fetch_w(w_rows, (slab + TEAMS) * 4u + k_quad);
            }
        }
        if (slab < slabs) {
            for (var k = 0u; k < 16u; k++) {
                let a = shared_quads[x_slab + place(k, m_quad)];
                let b = shared_quads[w_slab + place(k, n_quad)];
                acc0 += a.x * b;
                acc1 += a.y * b;
                acc2 += a.z * b;
                acc3 += a.w * b;
            }
        }
        workgroupBarrier();
    }

    // Each team then has one of the four rows of every invocation, and adds up what all found of it.
    let own = team * TEAM * 4u + lane;
    shared_quads[own] = acc0;
    shared_quads[own + TEAM] = acc1;
    shared_quads[own + 2u * TEAM] = acc2;
    shared_quads[own + 3u * TEAM] = acc3;
    workgroupBarrier();
    let row = team * TEAM + lane;
    var sum = shared_quads[row];
    for (var other = 1u; other < TEAMS; other++) {
        sum += shared_quads[other * TEAM * 4u + row];
    }
    store(m0 + m_quad * 4u + team, n0 + n_quad * 4u, sum);
}
