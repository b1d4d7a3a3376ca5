// y[t, :] = w[ids[t], :] for the ids whose row lies in this shard; K need not be a multiple of 32 in y.

struct Params {
    count: u32,      // T · chunks · 8: an invocation has four neighbours
    columns: u32,    // K of y
    chunks: u32,     // chunks of 32 in a row of w
    groups: u32,     // groups in a row of w
    rows: u32,       // N of this shard
    first: u32,      // first row of this shard
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;             // [T]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [T, K]

#include "elements.wgsl"
#include "weights.wgsl"

fn compute_element(at: u32) {
    let quads = params.chunks * 8u;
    let token = at / quads;
    let quad = at % quads;
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
