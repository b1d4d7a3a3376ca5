// y = a + b, or a · b with PRODUCT, where b repeats every b_count elements: a row, a table, or all
// of a.

struct Params {
    count: u32,
    b_count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;               // [count]
@group(0) @binding(2) var<storage, read> b: array<f32>;               // [b_count]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;         // [count]

#include "elements.wgsl"

fn compute_element(at: u32) {
#if PRODUCT
    y[at] = a[at] * b[at % params.b_count];
#else
    y[at] = a[at] + b[at % params.b_count];
#endif
}
