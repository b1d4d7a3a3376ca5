// y[m, n] = Σₖ x[m, k] · w[n, k] (+ bias[n]), for many rows of x and of w: 128 invocations compute a tile of
// 64 × 64 outputs, 8 × 4 each, over slabs of 16 along K. While a slab is multiplied the next one is on its
// way from memory to registers, as it lies there: it becomes numbers when its turn comes.

#include "matmul_fetch.wgsl"

// Slabs are stored K-major, and rows of quads one further apart than they need be, so that quads that are
// written together lie in different banks.
const SIDE: u32 = 16u;  // quads of a tile's side
const STRIDE: u32 = SIDE + 1u;
var<workgroup> x_slab: array<vec4<f32>, 16u * STRIDE>;  // [16 k, quads of m]
var<workgroup> w_slab: array<vec4<f32>, 16u * STRIDE>;  // [16 k, quads of n]

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m0 = workgroup.y * TILE_Y;
    let n0 = workgroup.x * TILE_X;
    let m_quad = lane / SIDE;
    let n_quad = lane % SIDE;
    // In loading, half of the invocations fetch x and half w: four neighbours along K (k_quad) of four
    // rows (quad).
    let loads_x = lane < WG / 2u;
    let item = lane % (WG / 2u);
    let k_quad = item % 4u;
    let quad = item / 4u;
    let x_rows = four(m0 + quad * 4u, params.m);
    let w_rows = four(n0 + quad * 4u, params.rows);
    let at = k_quad * 4u * STRIDE + quad;

    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    var acc4 = vec4<f32>(0.0);
    var acc5 = vec4<f32>(0.0);
    var acc6 = vec4<f32>(0.0);
    var acc7 = vec4<f32>(0.0);
    var xs: mat4x4<f32>;
    var ws: Codes;
    if (loads_x) {
        xs = fetch_x(x_rows, k_quad);
    } else {
        ws = fetch_w(w_rows, k_quad);
    }
    let slabs = params.chunks * 2u;
    for (var slab = 0u; slab < slabs; slab++) {
        if (loads_x) {
            let turned = transpose(xs);
            x_slab[at] = turned[0];
            x_slab[at + STRIDE] = turned[1];
            x_slab[at + 2u * STRIDE] = turned[2];
            x_slab[at + 3u * STRIDE] = turned[3];
        } else {
            let turned = transpose(numbers(ws, w_rows, slab * 4u + k_quad));
            w_slab[at] = turned[0];
            w_slab[at + STRIDE] = turned[1];
            w_slab[at + 2u * STRIDE] = turned[2];
            w_slab[at + 3u * STRIDE] = turned[3];
        }
        workgroupBarrier();
        if (slab + 1u < slabs) {
            if (loads_x) {
                xs = fetch_x(x_rows, slab * 4u + 4u + k_quad);
            } else {
                ws = fetch_w(w_rows, slab * 4u + 4u + k_quad);
            }
        }
        for (var k = 0u; k < 16u; k++) {
            let a = x_slab[k * STRIDE + m_quad];
            let c = x_slab[k * STRIDE + m_quad + SIDE / 2u];
            let b = w_slab[k * STRIDE + n_quad];
            acc0 += a.x * b;
            acc1 += a.y * b;
            acc2 += a.z * b;
            acc3 += a.w * b;
            acc4 += c.x * b;
            acc5 += c.y * b;
            acc6 += c.z * b;
            acc7 += c.w * b;
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
    store(m + 32u, n, acc4);
    store(m + 33u, n, acc5);
    store(m + 34u, n, acc6);
    store(m + 35u, n, acc7);
}
