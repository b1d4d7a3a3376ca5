// y[m, n] = Σₖ x[m, k] · w[n, k] (+ bias[n]), for many rows of x on software adapters: WG invocations compute
// a tile of TILE_Y × TILE_X outputs, 4 × 4 each, over slices of 32 along K that are dequantised once a tile.
// WG is TILE_X · TILE_Y / 16.

#include "matmul_inputs.wgsl"

// Tiles are stored K-major: the four columns or rows that an invocation needs lie side by side.
// Rows of a tile are one quad further apart than they need be, so that quads of one column, which are
// written together, lie in different banks.
const X_QUADS: u32 = TILE_Y / 4u;
const W_QUADS: u32 = TILE_X / 4u;
const X_STRIDE: u32 = X_QUADS + 1u;
const W_STRIDE: u32 = W_QUADS + 1u;
var<workgroup> x_tile: array<vec4<f32>, 32u * X_STRIDE>;  // [32 k, quads of m]
var<workgroup> w_tile: array<vec4<f32>, 32u * W_STRIDE>;  // [32 k, quads of n]

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m0 = workgroup.y * TILE_Y;
    let n0 = workgroup.x * TILE_X;
    let m_quad = lane / W_QUADS;
    let n_quad = lane % W_QUADS;

    var acc0 = vec4<f32>(0.0);
    var acc1 = vec4<f32>(0.0);
    var acc2 = vec4<f32>(0.0);
    var acc3 = vec4<f32>(0.0);
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        // In loading, an invocation fetches four neighbours along K (k_quad) of four rows (quad).
        let k_quad = lane % 8u;
        for (var quad = lane / 8u; quad < X_QUADS; quad += WG / 8u) {
            let rows = four(m0 + quad * 4u, params.m);
            let xs = transpose(mat4x4<f32>(
                x[(rows.x * params.chunks + chunk) * 8u + k_quad],
                x[(rows.y * params.chunks + chunk) * 8u + k_quad],
                x[(rows.z * params.chunks + chunk) * 8u + k_quad],
                x[(rows.w * params.chunks + chunk) * 8u + k_quad],
            ));
            let at = k_quad * 4u * X_STRIDE + quad;
            x_tile[at] = xs[0];
            x_tile[at + X_STRIDE] = xs[1];
            x_tile[at + 2u * X_STRIDE] = xs[2];
            x_tile[at + 3u * X_STRIDE] = xs[3];
        }
        for (var quad = lane / 8u; quad < W_QUADS; quad += WG / 8u) {
            let rows = four(n0 + quad * 4u, params.rows);
            let ws = transpose(mat4x4<f32>(
                weights4(rows.x, chunk, k_quad),
                weights4(rows.y, chunk, k_quad),
                weights4(rows.z, chunk, k_quad),
                weights4(rows.w, chunk, k_quad),
            ));
            let at = k_quad * 4u * W_STRIDE + quad;
            w_tile[at] = ws[0];
            w_tile[at + W_STRIDE] = ws[1];
            w_tile[at + 2u * W_STRIDE] = ws[2];
            w_tile[at + 3u * W_STRIDE] = ws[3];
        }
        workgroupBarrier();
        for (var k = 0u; k < 32u; k++) {
            let a = x_tile[k * X_STRIDE + m_quad];
            let b = w_tile[k * W_STRIDE + n_quad];
            acc0 += a.x * b;
            acc1 += a.y * b;
            acc2 += a.z * b;
            acc3 += a.w * b;
        }
        workgroupBarrier();
    }

    // Written out: an array that a loop's variable indexes is kept in memory, not in registers.
    let n = n0 + n_quad * 4u;
    store(m0 + m_quad * 4u, n, acc0);
    store(m0 + m_quad * 4u + 1u, n, acc1);
    store(m0 + m_quad * 4u + 2u, n, acc2);
    store(m0 + m_quad * 4u + 3u, n, acc3);
}

fn weights4(row: u32, chunk: u32, i: u32) -> vec4<f32> {
    let codes = codes4(row * params.chunks + chunk, i);
#if BITS >= 16
    return codes;
#else
    let dm = affine(row * params.groups + chunk * WEIGHT_CHUNK / GROUP);
    return dm.x * codes + dm.y;
#endif
}
