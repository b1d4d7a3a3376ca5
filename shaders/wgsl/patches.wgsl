// y[m, k] = x[b, iy, ix, first_channel + c], the numbers that a convolution multiplies for one
// output, or 0 outside of x. A row m is an output (b, oy, ox), counted from first_row; a column k is
// (ky, kx, c); iy = oy · stride_y + ky · dilation_y − padding_y, and so along x.

struct Params {
    count: u32,            // elements of y
    first_row: u32,
    height: u32,           // of x
    width: u32,
    channels: u32,
    first_channel: u32,    // of a group
    group_channels: u32,   // C of a group
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [B, height, width, channels]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [M, KY · KX · C]

#include "elements.wgsl"

fn compute_element(at: u32) {
    let c = at % params.group_channels;
    let k = at / params.group_channels;
    let kx = k % params.kernel_x;
    let ky = k / params.kernel_x % params.kernel_y;
    let m = params.first_row + k / (params.kernel_x * params.kernel_y);
    let ox = m % params.out_width;
    let oy = m / params.out_width % params.out_height;
    let b = m / (params.out_width * params.out_height);
    // Before the image wraps to a huge number, which is outside as well.
    let iy = oy * params.stride_y + ky * params.dilation_y - params.padding_y;
    let ix = ox * params.stride_x + kx * params.dilation_x - params.padding_x;
    var value = 0.0;
    if (iy < params.height && ix < params.width) {
        let pixel = (b * params.height + iy) * params.width + ix;
        value = x[pixel * params.channels + params.first_channel + c];
    }
    y[at] = value;
}
