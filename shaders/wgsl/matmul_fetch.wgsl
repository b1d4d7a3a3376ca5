// How slabs of 16 along K come from memory: to registers as they lie there, and to numbers when their turn comes.

#include "matmul_inputs.wgsl"

// Four neighbours along K of four rows of w, and what makes numbers of them.
struct Codes {
    a: Words4,
    b: Words4,
    c: Words4,
    d: Words4,
    affine: vec4<u32>,
}

#if WINDOWS
#include "windows.wgsl"
#else
alias Rows = vec4<u32>;

fn x_rows_from(first: u32) -> Rows {
    return four(first, params.m);
}

// Four neighbours of four rows of x, those with the number k_quad along K.
fn fetch_x(rows: Rows, k_quad: u32) -> mat4x4<f32> {
    let at = rows * (params.chunks * 8u) + k_quad;
    return mat4x4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
}
#endif

fn fetch_w(rows: vec4<u32>, k_quad: u32) -> Codes {
    let chunks = rows * params.chunks + k_quad / 8u;
    let i = k_quad % 8u;
    var codes: Codes;
    codes.a = words4(chunks.x, i);
    codes.b = words4(chunks.y, i);
    codes.c = words4(chunks.z, i);
    codes.d = words4(chunks.w, i);
#if BITS < 16
    let groups = group_of(rows, k_quad);
    codes.affine = vec4<u32>(
        affine_word(groups.x), affine_word(groups.y), affine_word(groups.z), affine_word(groups.w),
    );
#endif
    return codes;
}

fn numbers(codes: Codes, rows: vec4<u32>, k_quad: u32) -> mat4x4<f32> {
    let i = k_quad % 8u;
#if BITS >= 16
    return mat4x4<f32>(
        codes_of(codes.a, i), codes_of(codes.b, i), codes_of(codes.c, i), codes_of(codes.d, i),
    );
#else
    let groups = group_of(rows, k_quad);
    let a = affine_of(codes.affine.x, groups.x);
    let b = affine_of(codes.affine.y, groups.y);
    let c = affine_of(codes.affine.z, groups.z);
    let d = affine_of(codes.affine.w, groups.w);
    return mat4x4<f32>(
        a.x * codes_of(codes.a, i) + a.y,
        b.x * codes_of(codes.b, i) + b.y,
        c.x * codes_of(codes.c, i) + c.y,
        d.x * codes_of(codes.d, i) + d.y,
    );
#endif
}

#if BITS < 16
fn group_of(rows: vec4<u32>, k_quad: u32) -> vec4<u32> {
    return rows * params.groups + k_quad / 8u * WEIGHT_CHUNK / GROUP;
}
#endif
