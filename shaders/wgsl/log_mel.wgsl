// y[frame, bin] = log10(max(power on the mel scale, floor)) · factor of windows of a sound, each
// centred on its place and mirrored beyond the sound's ends; one workgroup a frame.
//
// The transform is Cooley and Tukey's in two passes, N = A · B, with angles from a table: WGSL
// promises sines to 2^-11 only. With n = B n1 + n2 and k = k1 + A k2,
//   X[k] = Σ_n2 w^(A n2 k2) · ( w^(n2 k1) · Σ_n1 x[n] w^(B n1 k1) ),   w = exp(−2πi / N).

const B: u32 = N / A;
const LOG10_2: f32 = 0.30102999566398120;

struct Params {
    rows: u32,       // sequences · frames
    frames: u32,
    samples: u32,    // of a sequence, more than N / 2
    hop: u32,
    bins: u32,
    floor: f32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sound: array<f32>;          // [sequences, samples]
@group(0) @binding(2) var<storage, read> table: array<f32>;          // [3, N]: window, cos, −sin
@group(0) @binding(3) var<storage, read> spans: array<u32>;          // [bins, 3]: first frequency, count, first weight
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;        // [sequences, frames, bins]

// 12 bytes a sample: 12 KB at the longest window, 1024.
var<workgroup> values: array<f32, N>;                                // the window, then its power
var<workgroup> halfway: array<vec2<f32>, N>;                         // [A, B]

#include "rows.wgsl"

fn root(power: u32) -> vec2<f32> {
    let i = power % N;
    return vec2(table[N + i], table[2u * N + i]);
}

fn compute_row(row: u32, lane: u32, size: u32) {
    let first = row / params.frames * params.samples;
    let start = i32(row % params.frames * params.hop) - i32(N / 2u);
    let last = i32(params.samples) - 1;
    for (var i = lane; i < N; i += WG) {
        let at = abs(start + i32(i));
        values[i] = sound[first + u32(last - abs(last - at))] * table[i];
    }
    workgroupBarrier();
    for (var i = lane; i < N; i += WG) {
        let k1 = i / B;
        let n2 = i % B;
        var sum = vec2(0.0);
        for (var n1 = 0u; n1 < A; n1 += 1u) {
            sum += values[B * n1 + n2] * root(B * n1 * k1);
        }
        let turn = root(n2 * k1);
        halfway[i] = vec2(sum.x * turn.x - sum.y * turn.y, sum.x * turn.y + sum.y * turn.x);
    }
    workgroupBarrier();
    for (var k = lane; k <= N / 2u; k += WG) {
        let halves = k % A * B;
        let k2 = k / A;
        var sum = vec2(0.0);
        for (var n2 = 0u; n2 < B; n2 += 1u) {
            let x = halfway[halves + n2];
            let turn = root(A * n2 * k2);
            sum += vec2(x.x * turn.x - x.y * turn.y, x.x * turn.y + x.y * turn.x);
        }
        values[k] = dot(sum, sum);
    }
    workgroupBarrier();
    for (var bin = lane; bin < params.bins; bin += WG) {
        var sum = 0.0;
        for (var i = 0u; i < spans[bin * 3u + 1u]; i += 1u) {
            sum += values[spans[bin * 3u] + i] * weights[spans[bin * 3u + 2u] + i];
        }
        y[row * params.bins + bin] = log2(max(sum, params.floor)) * LOG10_2 * params.factor;
    }
}
