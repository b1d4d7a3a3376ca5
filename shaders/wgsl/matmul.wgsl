// y[m, n] = Σₖ x[m, k] · w[n, k] (+ bias[n]), for many rows of x: WG invocations compute a tile of
// TILE_Y × TILE_X outputs, 4 × 4 each, over slices of 32 along K that are dequantised once a tile.
// WG is TILE_X · TILE_Y / 16. With F16 the tile of 16-bit weights stays at 16 bits, which is exact
// and halves its workgroup memory.
#if F16
enable f16;
#endif

struct Params {
    m: u32,          // rows of x
    rows: u32,       // N of this shard
    chunks: u32,     // K / 32
    groups: u32,     // groups in a row
    y_stride: u32,   // N of the whole matrix
    y_offset: u32,   // first n of this shard
}

@group(0) @binding(0) var<uniform> params: Params;
#include "product.wgsl"

// Tiles are stored K-major: the four columns or rows that an invocation needs lie side by side.
const X_QUADS: u32 = TILE_Y / 4u;
const W_QUADS: u32 = TILE_X / 4u;
var<workgroup> x_tile: array<vec4<f32>, 32u * X_QUADS>;   // [32 k, quads of m]
#if F16
var<workgroup> w_tile: array<vec4<f16>, 32u * W_QUADS>;   // [32 k, quads of n]
#else
var<workgroup> w_tile: array<vec4<f32>, 32u * W_QUADS>;   // [32 k, quads of n]
#endif

// Four neighbours from `first` on, none beyond the last row: what they compute is not kept.
fn four(first: u32, rows: u32) -> vec4<u32> {
    return min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(rows - 1u));
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m0 = workgroup.y * TILE_Y;
    let n0 = workgroup.x * TILE_X;
    let m_quad = lane / W_QUADS;
    let n_quad = lane % W_QUADS;

    var acc: array<vec4<f32>, 4>;
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
            for (var i = 0u; i < 4u; i++) {
                x_tile[(k_quad * 4u + i) * X_QUADS + quad] = xs[i];
            }
        }
        for (var quad = lane / 8u; quad < W_QUADS; quad += WG / 8u) {
            let rows = four(n0 + quad * 4u, params.rows);
            let ws = transpose(mat4x4<f32>(
                weights4(rows.x, chunk, k_quad),
                weights4(rows.y, chunk, k_quad),
                weights4(rows.z, chunk, k_quad),
                weights4(rows.w, chunk, k_quad),
            ));
            for (var i = 0u; i < 4u; i++) {
#if F16
                w_tile[(k_quad * 4u + i) * W_QUADS + quad] = vec4<f16>(ws[i]);
#else
                w_tile[(k_quad * 4u + i) * W_QUADS + quad] = ws[i];
#endif
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < 32u; k++) {
            let a = x_tile[k * X_QUADS + m_quad];
            let b = vec4<f32>(w_tile[k * W_QUADS + n_quad]);
            acc[0] += a.x * b;
            acc[1] += a.y * b;
            acc[2] += a.z * b;
            acc[3] += a.w * b;
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 4u; i++) {
        let m = m0 + m_quad * 4u + i;
        for (var j = 0u; j < 4u; j++) {
            let row = n0 + n_quad * 4u + j;
            if (m < params.m && row < params.rows) {
                let n = params.y_offset + row;
#if BIAS
                y[m * params.y_stride + n] = acc[i][j] + bias[n];
#else
                y[m * params.y_stride + n] = acc[i][j];
#endif
            }
        }
    }
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
