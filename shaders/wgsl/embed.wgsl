// y[t, :] = w[ids[t], :] for the ids whose row lies in this shard; K need not be a multiple of 32 in y.

struct Params {
    tokens: u32,     // T
    columns: u32,    // K of y
    chunks: u32,     // chunks of 32 in a row of w
    groups: u32,     // groups in a row of w
    rows: u32,       // N of this shard
    first: u32,      // first row of this shard
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;             // [T]
#if BITS == 32
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;   // [N, chunks · 8]
#elif BITS == 16
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;   // [N, chunks · 8]
#else
@group(0) @binding(2) var<storage, read> weights: array<u32>;         // [N, chunks · BITS]
#endif
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [T, K]
#if BITS < 16
@group(0) @binding(4) var<storage, read> scales: array<u32>;          // [N · groups] halves or pairs
#endif

#include "grid.wgsl"
#include "weights.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quads = params.chunks * 8u;
    let at = grid_index(workgroup, grid) * WG + lane;
    let token = at / quads;
    let quad = at % quads;
    if (token >= params.tokens) {
        return;
    }
    let row = ids[token] - params.first;
    if (row >= params.rows) {
        return;
    }
    let chunk = quad / 8u;
    let codes = codes4(row * params.chunks + chunk, quad % 8u);
    let dm = affine(row * params.groups + chunk * WEIGHT_CHUNK / GROUP);
    let values = dm.x * codes + dm.y;
    for (var i = 0u; i < 4u; i++) {
        let column = quad * 4u + i;
        if (column < params.columns) {
            y[token * params.columns + column] = values[i];
        }
    }
}
