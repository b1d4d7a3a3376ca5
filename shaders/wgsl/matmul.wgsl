// y[m, n] = Σₖ x[m, k] · w[n, k] (+ bias[n]), for many rows of x: 64 invocations compute a tile of
// 32 × 32 outputs, 4 × 4 each, over slices of 32 along K that are dequantised once a tile. With F16
// the tile of 16-bit weights stays at 16 bits, which is exact and halves its workgroup memory.
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
var<workgroup> x_tile: array<vec4<f32>, 256>;   // [32 k, 8 quads of m]
#if F16
var<workgroup> w_tile: array<vec4<f16>, 256>;   // [32 k, 8 quads of n]
#else
var<workgroup> w_tile: array<vec4<f32>, 256>;   // [32 k, 8 quads of n]
#endif

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m0 = workgroup.y * 32u;
    let n0 = workgroup.x * 32u;
    let m_quad = lane >> 3u;
    let n_quad = lane & 7u;
    // In loading, an invocation fetches four neighbours along K (k_quad) of four rows (row_quad).
    let row_quad = lane >> 3u;
    let k_quad = lane & 7u;
    let x_rows = min(vec4<u32>(m0 + row_quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.m - 1u));
    let w_rows = min(vec4<u32>(n0 + row_quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.rows - 1u));

    var acc: array<vec4<f32>, 4>;
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        let xs = transpose(mat4x4<f32>(
            x[(x_rows.x * params.chunks + chunk) * 8u + k_quad],
            x[(x_rows.y * params.chunks + chunk) * 8u + k_quad],
            x[(x_rows.z * params.chunks + chunk) * 8u + k_quad],
            x[(x_rows.w * params.chunks + chunk) * 8u + k_quad],
        ));
        let ws = transpose(mat4x4<f32>(
            weights4(w_rows.x, chunk, k_quad),
            weights4(w_rows.y, chunk, k_quad),
            weights4(w_rows.z, chunk, k_quad),
            weights4(w_rows.w, chunk, k_quad),
        ));
        for (var i = 0u; i < 4u; i++) {
            x_tile[(k_quad * 4u + i) * 8u + row_quad] = xs[i];
#if F16
            w_tile[(k_quad * 4u + i) * 8u + row_quad] = vec4<f16>(ws[i]);
#else
            w_tile[(k_quad * 4u + i) * 8u + row_quad] = ws[i];
#endif
        }
        workgroupBarrier();
        for (var k = 0u; k < 32u; k++) {
            let a = x_tile[k * 8u + m_quad];
            let b = vec4<f32>(w_tile[k * 8u + n_quad]);
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
