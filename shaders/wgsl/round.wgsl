// Activations as integer products want them: 24-bit integers in three signed digits of a byte, which meet the
// codes of weights in dot4I8Packed. A chunk of 32 has a step of its own, and digits enough that where one
// activation dwarfs the others, as in language models, these keep their last bits too.
//
// A row of rounded activations in memory, of quads of words:
//   [digit, half of a chunk, chunk]   the digits, high ones first, of four activations a word
//   [chunk]                           what a step is worth, the sum, the sum of squares before a norm's weight

const ROUNDED_QUADS: u32 = 7u;   // of a chunk

// The largest that three signed digits hold is 127 · 65,793; a little less leaves room for rounding.
const STEPS: f32 = 8355000.0;

// Half of a chunk, with what it shares with the other half.
struct RoundedHalf {
    high: vec4<u32>,
    middle: vec4<u32>,
    low: vec4<u32>,
    step: f32,
    sum: f32,
}

// Bytes are digits once half of what a digit can be was added to each.
fn bytes_of(values: vec4<f32>, inverse: f32) -> vec4<u32> {
    let whole = bitcast<vec4<u32>>(vec4<i32>(round(values * inverse)));
    return (whole + vec4<u32>(0x00808080u)) ^ vec4<u32>(0x00808080u);
}

// Byte `place` of each activation of four quads.
fn digit(q0: vec4<u32>, q1: vec4<u32>, q2: vec4<u32>, q3: vec4<u32>, place: u32) -> vec4<u32> {
    let by = vec4<u32>(8u * place);
    return vec4<u32>(pack4xU8(q0 >> by), pack4xU8(q1 >> by), pack4xU8(q2 >> by), pack4xU8(q3 >> by));
}

// Rounds the columns of `own`, a quad each; `other` is the other half.
fn round_half(own: mat4x4<f32>, other: mat4x4<f32>) -> RoundedHalf {
    let sizes = max(
        max(max(abs(own[0]), abs(own[1])), max(abs(own[2]), abs(own[3]))),
        max(max(abs(other[0]), abs(other[1])), max(abs(other[2]), abs(other[3]))),
    );
    let largest = max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
    // The reciprocal of less would be infinite: such a chunk counts as zero.
    let is_there = largest > 1.0e-30;
    let inverse = select(0.0, STEPS / largest, is_there);
    let q0 = bytes_of(own[0], inverse);
    let q1 = bytes_of(own[1], inverse);
    let q2 = bytes_of(own[2], inverse);
    let q3 = bytes_of(own[3], inverse);
    let sums = own[0] + own[1] + own[2] + own[3] + other[0] + other[1] + other[2] + other[3];
    return RoundedHalf(
        digit(q0, q1, q2, q3, 2u),
        digit(q0, q1, q2, q3, 1u),
        digit(q0, q1, q2, q3, 0u),
        select(0.0, largest / STEPS, is_there),
        dot(sums, vec4<f32>(1.0)),
    );
}

// Each column times the same column of `by`.
fn scale_columns(values: mat4x4<f32>, by: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(values[0] * by[0], values[1] * by[1], values[2] * by[2], values[3] * by[3]);
}

// The sum of squares.
fn squares_of(values: mat4x4<f32>) -> f32 {
    return dot(values[0], values[0]) + dot(values[1], values[1]) + dot(values[2], values[2]) + dot(values[3], values[3]);
}
