// y[b, oy, ox, c] = the largest x[b, iy, ix, c] of a window; what lies outside of x does not count.

struct Params {
    count: u32,            // elements of y
    height: u32,           // of x
    width: u32,
    channels: u32,
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
@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [B, out_height, out_width, channels]

#include "elements.wgsl"

fn compute_element(at: u32) {
    let c = at % params.channels;
    let m = at / params.channels;
    let ox = m % params.out_width;
    let oy = m / params.out_width % params.out_height;
    let b = m / (params.out_width * params.out_height);
    var largest = -3.4e38;
    for (var ky = 0u; ky < params.kernel_y; ky++) {
        for (var kx = 0u; kx < params.kernel_x; kx++) {
            // Before the image wraps to a huge number, which is outside as well.
            let iy = oy * params.stride_y + ky * params.dilation_y - params.padding_y;
            let ix = ox * params.stride_x + kx * params.dilation_x - params.padding_x;
            if (iy < params.height && ix < params.width) {
                let pixel = (b * params.height + iy) * params.width + ix;
                largest = max(largest, x[pixel * params.channels + c]);
            }
        }
    }
    y[at] = largest;
}
