// Rows of x that are windows of an image, read where they lie: row m is an output (b, oy, ox) of a convolution, and a
// column k an element (ky, kx, c) of its kernel. Channels come in fours.

struct Rows {
    // Where the windows begin; before the image wraps to a huge number, which is outside as well.
    y: vec4<u32>,
    x: vec4<u32>,
    // The images' first rows of pixels.
    image: vec4<u32>,
}

// Four neighbours from `first` on, none beyond the last row.
fn x_rows_from(first: u32) -> Rows {
    let rows = four(first, params.m);
    var found: Rows;
    let line = rows / params.out_width;
    found.x = (rows - line * params.out_width) * params.stride_x - params.padding_x;
    let image = line / params.out_height;
    found.y = (line - image * params.out_height) * params.stride_y - params.padding_y;
    found.image = image * params.height;
    return found;
}

// Four neighbouring columns of four rows, those with the number k_quad; zeros outside of the image, and where a chunk
// is longer than a window.
fn fetch_x(rows: Rows, k_quad: u32) -> mat4x4<f32> {
    let element = k_quad / params.group_quads;
    let ky = element / params.kernel_x;
    let kx = element - ky * params.kernel_x;
    let ys = rows.y + ky * params.dilation_y;
    let xs = rows.x + kx * params.dilation_x;
    let inside = (ys < vec4<u32>(params.height)) & (xs < vec4<u32>(params.width))
        & vec4<bool>(ky < params.kernel_y);
    let pixel = (rows.image + ys) * params.width + xs;
    let c = params.first_quad + k_quad - element * params.group_quads;
    let at = select(vec4<u32>(0u), pixel * params.quads + c, inside);
    return mat4x4<f32>(
        quad_of(at.x, inside.x), quad_of(at.y, inside.y), quad_of(at.z, inside.z), quad_of(at.w, inside.w),
    );
}

fn quad_of(at: u32, inside: bool) -> vec4<f32> {
    return select(vec4<f32>(0.0), x[at], inside);
}
