// y[m, n] = Σₖ x[m, k] · w[n, k] (+ bias[n]), for few rows of x: each workgroup computes TILE_X
// neighbouring n of one m; TILE_X is 4, the width of a vector. Rows of y are N_TOTAL apart, so that shards of a tall matrix write
// side by side.
#if SUBGROUPS
enable subgroups;
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
#include "grid.wgsl"
#include "product.wgsl"

var<workgroup> sums: array<vec4<f32>, WG>;

fn dot_chunk(row: u32, chunk: u32, xs: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    let at = row * params.chunks + chunk;
    let sum = dot(codes4(at, 0u), xs[0]) + dot(codes4(at, 1u), xs[1])
        + dot(codes4(at, 2u), xs[2]) + dot(codes4(at, 3u), xs[3])
        + dot(codes4(at, 4u), xs[4]) + dot(codes4(at, 5u), xs[5])
        + dot(codes4(at, 6u), xs[6]) + dot(codes4(at, 7u), xs[7]);
#if BITS >= 16
    return sum;
#else
    let dm = affine(row * params.groups + chunk * WEIGHT_CHUNK / GROUP);
    return dm.x * sum + dm.y * x_sum;
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
    let first = grid_index(workgroup, grid) * TILE_X;
    let m = workgroup.z;
    // Rows past the end repeat the last one, so that every invocation takes the same path.
    let last = params.rows - 1u;
    let rows = min(vec4<u32>(first, first + 1u, first + 2u, first + 3u), vec4<u32>(last));

    var acc = vec4<f32>(0.0);
    for (var chunk = lane; chunk < params.chunks; chunk += WG) {
        let at = (m * params.chunks + chunk) * 8u;
        let xs = array<vec4<f32>, 8>(x[at], x[at + 1u], x[at + 2u], x[at + 3u],
            x[at + 4u], x[at + 5u], x[at + 6u], x[at + 7u]);
        let x_sum = dot(xs[0] + xs[1] + xs[2] + xs[3] + xs[4] + xs[5] + xs[6] + xs[7], vec4<f32>(1.0));
        acc += vec4<f32>(
            dot_chunk(rows.x, chunk, xs, x_sum),
            dot_chunk(rows.y, chunk, xs, x_sum),
            dot_chunk(rows.z, chunk, xs, x_sum),
            dot_chunk(rows.w, chunk, xs, x_sum),
        );
    }

#if SUBGROUPS
    acc = subgroupAdd(acc);
    if (lane % size == 0u) {
        sums[lane / size] = acc;
    }
    workgroupBarrier();
    if (lane == 0u) {
        acc = vec4<f32>(0.0);
        for (var i = 0u; i < (WG + size - 1u) / size; i++) {
            acc += sums[i];
        }
    }
#else
    sums[lane] = acc;
    workgroupBarrier();
    for (var span = WG / 2u; span > 0u; span >>= 1u) {
        if (lane < span) {
            sums[lane] += sums[lane + span];
        }
        workgroupBarrier();
    }
    acc = sums[0];
#endif
    if (lane == 0u) {
        for (var i = 0u; i < TILE_X; i++) {
            if (first + i < params.rows) {
                let n = params.y_offset + first + i;
#if BIAS
                y[m * params.y_stride + n] = acc[i] + bias[n];
#else
                y[m * params.y_stride + n] = acc[i];
#endif
            }
        }
    }
}
