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

fn compute_row(row: u32, lane: u32, size: u32) {
    let base = row * params.columns;
    var value = -3.4e38;
    var place = 0u;
    for (var c = lane; c < params.columns; c += WG) {
        if (x[base + c] > value) {
            value = x[base + c];
            place = c;
        }
    }
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
