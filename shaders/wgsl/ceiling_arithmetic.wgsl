// Products and sums alone: how fast arithmetic is. An invocation has eight sums of four numbers each, which
// do not depend on each other, and adds to every one of them twice a round: in f32, with F16 in f16, and
// with DOT4 eight sums of four products of bytes. Numbers go to b / (1 − a), whatever they were; integers
// are what they are on a CPU.
#if F16
enable f16;
#endif

struct Params {
    rounds: u32,
    a: u32,          // bits of a number, or four bytes
    b: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;         // [invocations], bits of numbers

#if F16
alias Number = f16;
#else
alias Number = f32;
#endif
alias Quad = vec4<Number>;

#include "grid.wgsl"

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = grid_index(workgroup, grid) * WG + lane;
#if DOT4
    var s0 = at + 0u;
    var s1 = at + 1u;
    var s2 = at + 2u;
    var s3 = at + 3u;
    var s4 = at + 4u;
    var s5 = at + 5u;
    var s6 = at + 6u;
    var s7 = at + 7u;
    for (var round = 0u; round < params.rounds; round++) {
        s0 = bitcast<u32>(dot4I8Packed(s0, params.a)) + params.b;
        s1 = bitcast<u32>(dot4I8Packed(s1, params.a)) + params.b;
        s2 = bitcast<u32>(dot4I8Packed(s2, params.a)) + params.b;
        s3 = bitcast<u32>(dot4I8Packed(s3, params.a)) + params.b;
        s4 = bitcast<u32>(dot4I8Packed(s4, params.a)) + params.b;
        s5 = bitcast<u32>(dot4I8Packed(s5, params.a)) + params.b;
        s6 = bitcast<u32>(dot4I8Packed(s6, params.a)) + params.b;
        s7 = bitcast<u32>(dot4I8Packed(s7, params.a)) + params.b;
        s0 = bitcast<u32>(dot4I8Packed(s0, params.a)) + params.b;
        s1 = bitcast<u32>(dot4I8Packed(s1, params.a)) + params.b;
        s2 = bitcast<u32>(dot4I8Packed(s2, params.a)) + params.b;
        s3 = bitcast<u32>(dot4I8Packed(s3, params.a)) + params.b;
        s4 = bitcast<u32>(dot4I8Packed(s4, params.a)) + params.b;
        s5 = bitcast<u32>(dot4I8Packed(s5, params.a)) + params.b;
        s6 = bitcast<u32>(dot4I8Packed(s6, params.a)) + params.b;
        s7 = bitcast<u32>(dot4I8Packed(s7, params.a)) + params.b;
    }
    y[at] = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
#else
    let a = Quad(Number(bitcast<f32>(params.a)));
    let b = Quad(Number(bitcast<f32>(params.b)));
    let first = Number(f32(lane & 7u) * 0.125);
    var s0 = Quad(first, 0.0, 0.5, 1.0);
    var s1 = Quad(first, 1.0, 0.5, 1.0);
    var s2 = Quad(first, 2.0, 0.5, 1.0);
    var s3 = Quad(first, 3.0, 0.5, 1.0);
    var s4 = Quad(first, 4.0, 0.5, 1.0);
    var s5 = Quad(first, 5.0, 0.5, 1.0);
    var s6 = Quad(first, 6.0, 0.5, 1.0);
    var s7 = Quad(first, 7.0, 0.5, 1.0);
    for (var round = 0u; round < params.rounds; round++) {
        s0 = fma(s0, a, b);
        s1 = fma(s1, a, b);
        s2 = fma(s2, a, b);
        s3 = fma(s3, a, b);
        s4 = fma(s4, a, b);
        s5 = fma(s5, a, b);
        s6 = fma(s6, a, b);
        s7 = fma(s7, a, b);
        s0 = fma(s0, a, b);
        s1 = fma(s1, a, b);
        s2 = fma(s2, a, b);
        s3 = fma(s3, a, b);
        s4 = fma(s4, a, b);
        s5 = fma(s5, a, b);
        s6 = fma(s6, a, b);
        s7 = fma(s7, a, b);
    }
    let sum = (s0 + s1) + (s2 + s3) + ((s4 + s5) + (s6 + s7));
    y[at] = bitcast<u32>(f32(sum.x + sum.y + sum.z + sum.w));
#endif
}
