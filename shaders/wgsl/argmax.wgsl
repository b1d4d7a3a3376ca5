// y[r] = index of the largest x[r, :], the first of equals; one workgroup a row.

struct Params {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [R, C]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;         // [R]

#include "rows.wgsl"

var<workgroup> values: array<f32, WG>;
var<workgroup> places: array<u32, WG>;

struct Best { value: f32, place: u32 }

// The first of the largest, of what there was and four more.
fn better(before: Best, more: vec4<f32>, at: vec4<u32>) -> Best {
    var best = before;
    if (more.x > best.value) { best = Best(more.x, at.x); }
    if (more.y > best.value) { best = Best(more.y, at.y); }
    if (more.z > best.value) { best = Best(more.z, at.z); }
    if (more.w > best.value) { best = Best(more.w, at.w); }
    return best;
}

fn compute_row(row: u32, lane: u32, size: u32) {
    let base = row * params.columns;
    // Eight at a time: their loads do not wait for each other. Beyond the end, the last one comes again.
    let last = vec4<u32>(params.columns - 1u);
    var best = Best(-3.4e38, 0u);
    for (var c = lane; c < params.columns; c += 8u * WG) {
        let near = min(vec4<u32>(c) + vec4<u32>(0u, WG, 2u * WG, 3u * WG), last);
        let far = min(vec4<u32>(c) + vec4<u32>(4u * WG, 5u * WG, 6u * WG, 7u * WG), last);
        let nears = vec4<f32>(x[base + near.x], x[base + near.y], x[base + near.z], x[base + near.w]);
        let fars = vec4<f32>(x[base + far.x], x[base + far.y], x[base + far.z], x[base + far.w]);
        best = better(better(best, nears, near), fars, far);
    }
    let value = best.value;
    let place = best.place;
    values[lane] = value;
    places[lane] = place;
    workgroupBarrier();
    for (var span = WG / 2u; span > 0u; span >>= 1u) {
        if (lane < span) {
            let other = values[lane + span];
            if (other > values[lane] || (other == values[lane] && places[lane + span] < places[lane])) {
                values[lane] = other;
                places[lane] = places[lane + span];
            }
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        y[row] = places[0];
    }
}
