// A product for few rows of x (see few_rows.wgsl) in floats. A workgroup puts x into workgroup memory, normed,
// a slab at a time.

#include "few_rows.wgsl"

// Chunks of x that are in workgroup memory at a time. A chunk has nine quads there, of which one is
// empty: invocations read a quad of neighbouring chunks each, which must lie in different banks.
const SLAB: u32 = WG;
const SLAB_CHUNK: u32 = 9u;
var<workgroup> slab: array<vec4<f32>, SLAB * SLAB_CHUNK>;

// Of four rows, the sums over one quad.
fn dots(w0: Chunk, w1: Chunk, w2: Chunk, w3: Chunk, at: vec4<u32>, i: u32, xs: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(
        dot(unpack(w0, at.x, i), xs),
        dot(unpack(w1, at.y, i), xs),
        dot(unpack(w2, at.z, i), xs),
        dot(unpack(w3, at.w, i), xs),
    );
}

// Of four rows, the sums over one chunk. Written out: compilers that count the turns of a loop do not
// unroll it, and then every word is chosen at run time.
fn products(rows: vec4<u32>, chunk: u32, place: u32) -> vec4<f32> {
    let at = rows * params.chunks + chunk;
    let w0 = fetch(at.x);
    let w1 = fetch(at.y);
    let w2 = fetch(at.z);
    let w3 = fetch(at.w);
    let x0 = slab[place];
    let x1 = slab[place + 1u];
    let x2 = slab[place + 2u];
    let x3 = slab[place + 3u];
    let x4 = slab[place + 4u];
    let x5 = slab[place + 5u];
    let x6 = slab[place + 6u];
    let x7 = slab[place + 7u];
    let sum = dots(w0, w1, w2, w3, at, 0u, x0) + dots(w0, w1, w2, w3, at, 1u, x1)
        + dots(w0, w1, w2, w3, at, 2u, x2) + dots(w0, w1, w2, w3, at, 3u, x3)
        + dots(w0, w1, w2, w3, at, 4u, x4) + dots(w0, w1, w2, w3, at, 5u, x5)
        + dots(w0, w1, w2, w3, at, 6u, x6) + dots(w0, w1, w2, w3, at, 7u, x7);
#if BITS >= 16
    return sum;
#else
    let x_sum = dot(x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7, vec4<f32>(1.0));
    let group = rows * params.groups + chunk * WEIGHT_CHUNK / GROUP;
    let dm0 = affine(group.x);
    let dm1 = affine(group.y);
    let dm2 = affine(group.z);
    let dm3 = affine(group.w);
    return vec4<f32>(dm0.x, dm1.x, dm2.x, dm3.x) * sum + vec4<f32>(dm0.y, dm1.y, dm2.y, dm3.y) * x_sum;
#endif
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
#if SUBGROUPS
    @builtin(subgroup_size) size: u32,
#endif
) {
#if SUBGROUPS == 0
    let size = 1u;
#endif
    let m = workgroup.z;
    let member = lane % params.team;
    let first = (grid_index(workgroup, grid) * WG + lane) / params.team * OUTPUTS;
    let rows = rows_from(first);
    let x_base = m * params.chunks * 8u;

    var gain = 1.0;
    if (params.has_norm != 0u) {
        var squares = 0.0;
        for (var i = lane; i < params.chunks * 8u; i += WG) {
            squares += dot(x[x_base + i], x[x_base + i]);
        }
        gain = 1.0 / sqrt(reduce_sum(squares, lane, size) / f32(params.columns) + params.eps);
    }

    var acc = biases(rows, member);
    for (var start = 0u; start < params.chunks; start += SLAB) {
        let count = min(SLAB, params.chunks - start);
        for (var i = lane; i < count * 8u; i += WG) {
            var values = x[x_base + start * 8u + i];
            if (params.has_norm != 0u) {
                values *= gain * norm[start * 8u + i];
            }
            slab[i / 8u * SLAB_CHUNK + i % 8u] = values;
        }
        workgroupBarrier();
        for (var chunk = member; chunk < count; chunk += params.team) {
            acc += products(rows, start + chunk, chunk * SLAB_CHUNK);
        }
        if (start + SLAB < params.chunks) {
            workgroupBarrier();
        }
    }

    store_output(m, first, member, over_team(acc, lane, size));
}
