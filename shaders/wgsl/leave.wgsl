// A row of outputs is left as the product behind this one wants it: rounded, as round.wgsl says. The teams of a
// workgroup have a chunk of it among them, which two invocations round when all of it is there.

var<workgroup> left: array<f32, 32>;

fn four_left(at: u32) -> vec4<f32> {
    return vec4<f32>(left[at], left[at + 1u], left[at + 2u], left[at + 3u]);
}
fn half_left(half: u32) -> mat4x4<f32> {
    let at = half * 16u;
    return mat4x4<f32>(four_left(at), four_left(at + 4u), four_left(at + 8u), four_left(at + 12u));
}

fn leave_output(first: u32, member: u32, lane: u32, total: Sums) {
    if (member < OUTPUTS) {
        left[first % 32u + member] = output_of(total, member);
    }
    workgroupBarrier();
    let chunk = first / 32u;
    let chunks = params.rows / 32u;
    if (lane < 2u && chunk < chunks) {
        let own = half_left(lane);
        let other = half_left(1u - lane);
        let rounded = round_half(own, other);
        y[lane * chunks + chunk] = rounded.high;
        y[(2u + lane) * chunks + chunk] = rounded.middle;
        if (lane == 0u) {
            // No norm follows: nobody asks for squares.
            let about = vec4<f32>(rounded.step, rounded.sum, 0.0, bitcast<f32>(rounded.apart));
            y[4u * chunks + chunk] = bitcast<vec4<u32>>(about);
        }
    }
}
