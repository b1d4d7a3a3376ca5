// y[m, n] = Σₖ x[m, k] · w[n, k] (+ bias[n]), for many rows of x and of w: 128 invocations compute a tile of
// TILE_Y × TILE_X outputs over slabs of DEPTH along K. While a slab is multiplied the next one is on its way from
// memory to registers, as it lies there: it becomes numbers when its turn comes.
//
// An invocation has 8 × 4 outputs of a tile of 64 × 64. LOW: 4 × 4, of 32 × 64. BROAD: 8 × 8, of 64 × 128.
// DEEP: slabs of 32 and not of 16. LATE: a slab is fetched when its turn comes. HALVES: what is loaded is as much of
// x as of w, so that each invocation fetches one of them, which compilers make something of.

#include "matmul_fetch.wgsl"

#if DEEP
const DEPTH: u32 = 32u;
#else
const DEPTH: u32 = 16u;
#endif
const K_QUADS: u32 = DEPTH / 4u;
// Slabs are stored K-major, and rows of quads one further apart than they need be, so that quads that are
// written together lie in different banks.
const X_STRIDE: u32 = TILE_Y / 4u + 1u;
const W_STRIDE: u32 = TILE_X / 4u + 1u;
var<workgroup> x_slab: array<vec4<f32>, DEPTH * X_STRIDE>;  // [k, quads of m]
var<workgroup> w_slab: array<vec4<f32>, DEPTH * W_STRIDE>;  // [k, quads of n]

// Invocations along m and along n: how far apart the quads of one are.
const ACROSS: u32 = 16u;
const DOWN: u32 = WG / ACROSS;
// What is loaded: four neighbours along K of four rows, of which an invocation has one of x and one of w at most.
const X_ITEMS: u32 = TILE_Y / 4u * K_QUADS;
const W_ITEMS: u32 = TILE_X / 4u * K_QUADS;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m0 = workgroup.y * TILE_Y;
    let n0 = workgroup.x * TILE_X;
    let m_quad = lane / ACROSS;
    let n_quad = lane % ACROSS;
    // The first ones fetch x and the last ones w.
    let loads_x = lane < X_ITEMS;
    let loads_w = lane + W_ITEMS >= WG;
    let k_quad = lane % K_QUADS;
    let x_quad = lane / K_QUADS;
    let w_quad = (lane + W_ITEMS) % WG / K_QUADS;
    let x_rows = x_rows_from(m0 + x_quad * 4u);
    let w_rows = four(n0 + w_quad * 4u, params.rows);
    let x_at = k_quad * 4u * X_STRIDE + x_quad;
    let w_at = k_quad * 4u * W_STRIDE + w_quad;

    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
#if LOW == 0
    var acc4 = vec4<f32>(0.0);
    var acc5 = vec4<f32>(0.0);
    var acc6 = vec4<f32>(0.0);
    var acc7 = vec4<f32>(0.0);
#endif
#if BROAD
    var acc8 = vec4<f32>(0.0);
    var acc9 = vec4<f32>(0.0);
    var acc10 = vec4<f32>(0.0);
    var acc11 = vec4<f32>(0.0);
    var acc12 = vec4<f32>(0.0);
    var acc13 = vec4<f32>(0.0);
    var acc14 = vec4<f32>(0.0);
    var acc15 = vec4<f32>(0.0);
#endif
    var xs: mat4x4<f32>;
    var ws: Codes;
#if LATE == 0
    if (loads_x) {
        xs = fetch_x(x_rows, k_quad);
#if HALVES
    } else {
#else
    }
    if (loads_w) {
#endif
        ws = fetch_w(w_rows, k_quad);
    }
#endif
    let slabs = params.chunks * (32u / DEPTH);
    for (var slab = 0u; slab < slabs; slab++) {
        if (loads_x) {
#if LATE
            xs = fetch_x(x_rows, slab * K_QUADS + k_quad);
#endif
            let turned = transpose(xs);
            x_slab[x_at] = turned[0];
            x_slab[x_at + X_STRIDE] = turned[1];
            x_slab[x_at + 2u * X_STRIDE] = turned[2];
            x_slab[x_at + 3u * X_STRIDE] = turned[3];
#if HALVES
        } else {
#else
        }
        if (loads_w) {
#endif
#if LATE
            ws = fetch_w(w_rows, slab * K_QUADS + k_quad);
#endif
            let turned = transpose(numbers(ws, w_rows, slab * K_QUADS + k_quad));
            w_slab[w_at] = turned[0];
            w_slab[w_at + W_STRIDE] = turned[1];
            w_slab[w_at + 2u * W_STRIDE] = turned[2];
            w_slab[w_at + 3u * W_STRIDE] = turned[3];
        }
        workgroupBarrier();
#if LATE == 0
        if (slab + 1u < slabs) {
            let next = (slab + 1u) * K_QUADS + k_quad;
            if (loads_x) {
                xs = fetch_x(x_rows, next);
#if HALVES
            } else {
#else
            }
            if (loads_w) {
#endif
                ws = fetch_w(w_rows, next);
            }
        }
#endif
        for (var k = 0u; k < DEPTH; k++) {
            let a = x_slab[k * X_STRIDE + m_quad];
            let b = w_slab[k * W_STRIDE + n_quad];
            acc0 += a.x * b;
            acc1 += a.y * b;
            acc2 += a.z * b;
            acc3 += a.w * b;
#if LOW == 0
            let c = x_slab[k * X_STRIDE + m_quad + DOWN];
            acc4 += c.x * b;
            acc5 += c.y * b;
            acc6 += c.z * b;
            acc7 += c.w * b;
#endif
#if BROAD
            let d = w_slab[k * W_STRIDE + n_quad + ACROSS];
            acc8 += a.x * d;
            acc9 += a.y * d;
            acc10 += a.z * d;
            acc11 += a.w * d;
            acc12 += c.x * d;
            acc13 += c.y * d;
            acc14 += c.z * d;
            acc15 += c.w * d;
#endif
        }
        workgroupBarrier();
    }

    // Written out: an array that a loop's variable indexes is kept in memory, not in registers.
    let m = m0 + m_quad * 4u;
    let n = n0 + n_quad * 4u;
    store(m, n, acc0);
    store(m + 1u, n, acc1);
    store(m + 2u, n, acc2);
    store(m + 3u, n, acc3);
#if LOW == 0
    store(m + 32u, n, acc4);
    store(m + 33u, n, acc5);
    store(m + 34u, n, acc6);
    store(m + 35u, n, acc7);
#endif
#if BROAD
    store(m, n + 64u, acc8);
    store(m + 1u, n + 64u, acc9);
    store(m + 2u, n + 64u, acc10);
    store(m + 3u, n + 64u, acc11);
    store(m + 32u, n + 64u, acc12);
    store(m + 33u, n + 64u, acc13);
    store(m + 34u, n + 64u, acc14);
    store(m + 35u, n + 64u, acc15);
#endif
}
