// Activations as integer products want them: integers in signed digits of a byte, which meet the codes of weights
// in dot4I8Packed. A chunk of 32 has a step of its own. Two digits are enough where activations are about
// alike; where one dwarfs the others, as in language models, a third one keeps the last bits of these. Who rounds for
// itself (a kernel with ROWS) always has three: to look which chunks need them would take it longer.
//
// A row of rounded activations in memory, of quads of words:
//   [digit, half of a chunk, chunk]   the digits, high ones first, of four activations a word
//   [chunk]                           what a step of the first two digits is worth, the sum, the sum of squares before
//                                     a norm's weight, and what a step of the third is worth: 0 where there is none

const ROUNDED_QUADS: u32 = 7u;   // of a chunk

// The largest that three signed digits hold is 127 · 65,793, and two 127 · 257; a little less leaves room for rounding.
const STEPS: f32 = 8355000.0;
const COARSE_STEPS: f32 = 32600.0;
// Digits are three where the largest activation is this many times the root of the mean square.
const CREST: f32 = 4.0;

// Half of a chunk, with what it shares with the other half.
struct RoundedHalf {
    high: vec4<u32>,
    middle: vec4<u32>,
    low: vec4<u32>,
    step: f32,
    sum: f32,
    fine_step: f32,
}

// Bytes are digits once half of what a digit can be was added to each.
fn bytes_of(steps: vec4<f32>, whole: i32) -> vec4<u32> {
    let integers = bitcast<vec4<u32>>(vec4<i32>(steps) * whole);
    return (integers + vec4<u32>(0x00808080u)) ^ vec4<u32>(0x00808080u);
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
#if ROWS
    let is_fine = true;
#else
    let relative = 1.0 / select(1.0, largest, is_there);
    let square = squares_of(scaled(own, relative)) + squares_of(scaled(other, relative));
    let is_fine = square * (CREST * CREST) < 32.0;
#endif
    let count = select(COARSE_STEPS, STEPS, is_fine);
    let inverse = select(0.0, count / largest, is_there);
    let step = select(0.0, largest / count, is_there);
    // Two digits are the upper ones of three.
    let whole = select(256, 1, is_fine);
    let steps = in_steps(own, inverse);
    let q0 = bytes_of(steps[0], whole);
    let q1 = bytes_of(steps[1], whole);
    let q2 = bytes_of(steps[2], whole);
    let q3 = bytes_of(steps[3], whole);
#if ROWS
    let first_step = step;
    let sums = own[0] + own[1] + own[2] + own[3] + other[0] + other[1] + other[2] + other[3];
    let sum = dot(sums, vec4<f32>(1.0));
#else
    // The sum is what codes are counted from zero by: rounded as they are, or their errors would count eightfold.
    let first_step = step * select(1.0, 256.0, is_fine);
    let others = in_steps(other, inverse);
    let sums = steps[0] + steps[1] + steps[2] + steps[3] + others[0] + others[1] + others[2] + others[3];
    let sum = dot(sums, vec4<f32>(1.0)) * step;
#endif
    return RoundedHalf(
        digit(q0, q1, q2, q3, 2u),
        digit(q0, q1, q2, q3, 1u),
        digit(q0, q1, q2, q3, 0u),
        first_step,
        sum,
        select(0.0, step, is_fine),
    );
}

// Numbers as whole steps.
fn in_steps(values: mat4x4<f32>, inverse: f32) -> mat4x4<f32> {
    return mat4x4<f32>(
        round(values[0] * inverse),
        round(values[1] * inverse),
        round(values[2] * inverse),
        round(values[3] * inverse),
    );
}

// Each column times the same column of `by`.
fn scale_columns(values: mat4x4<f32>, by: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(values[0] * by[0], values[1] * by[1], values[2] * by[2], values[3] * by[3]);
}

fn scaled(values: mat4x4<f32>, by: f32) -> mat4x4<f32> {
    return mat4x4<f32>(values[0] * by, values[1] * by, values[2] * by, values[3] * by);
}

// The sum of squares.
fn squares_of(values: mat4x4<f32>) -> f32 {
    return dot(values[0], values[0]) + dot(values[1], values[1]) + dot(values[2], values[2]) + dot(values[3], values[3]);
}
