// What products of many rows read, which rows, and how they write.

struct Params {
    m: u32,          // rows of x
    rows: u32,       // N of this shard
    chunks: u32,     // K / 32
    groups: u32,     // groups in a row
    y_stride: u32,   // N of the whole matrix
    y_offset: u32,   // first n of this shard
    has_bias: u32,
#if WINDOWS
    height: u32,     // of the images that x is
    width: u32,
    quads: u32,      // of channels, and the first of a group, and those of it
    first_quad: u32,
    group_quads: u32,
    out_height: u32,
    out_width: u32,
    kernel_y: u32,
    kernel_x: u32,
    stride_y: u32,
    stride_x: u32,
    padding_y: u32,
    padding_x: u32,
    dilation_y: u32,
    dilation_x: u32,
#endif
}

@group(0) @binding(0) var<uniform> params: Params;
#include "product.wgsl"

// Four neighbours from `first` on, none beyond the last row: what they compute is not kept.
fn four(first: u32, rows: u32) -> vec4<u32> {
    return min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(rows - 1u));
}

fn store(m: u32, row: u32, values: vec4<f32>) {
    if (m < params.m) {
        store_one(m, row, values.x);
        store_one(m, row + 1u, values.y);
        store_one(m, row + 2u, values.z);
        store_one(m, row + 3u, values.w);
    }
}

fn store_one(m: u32, row: u32, value: f32) {
    if (row < params.rows) {
        let n = params.y_offset + row;
        var sum = value;
        if (params.has_bias != 0u) {
            sum += bias[n];
        }
        y[m * params.y_stride + n] = sum;
    }
}
