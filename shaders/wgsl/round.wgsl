// Activations as integer products want them: integers in signed digits of a byte, which meet the codes of weights
// in dot4I8Packed. A chunk of 32 has a step of its own.
//
// Rows that are rounded once for many workgroups have two digits. Where one activation dwarfs the others of its
// chunk, as in language models, steps that fit it would be too coarse for these: it is kept apart, as the number that
// it is, and only what that leaves of it is rounded. Who rounds for itself has three digits
// instead (round_finely): to look for such chunks would take it longer.
//
// A row of rounded activations in memory, of quads of words:
//   [digit, half of a chunk, chunk]   the digits, high ones first, of four activations a word
//   [chunk]                           what a step is worth, the sum, the sum of squares before a norm's weight, and
//                                     the activation that is kept apart with its place, as value_apart and place_of
//                                     have it, or 0

const ROUNDED_QUADS: u32 = 5u;   // of a chunk

// The largest that two signed digits hold is 127 · 257; a little less leaves room for rounding.
const STEPS: f32 = 32600.0;
// The same of three: 127 · 65,793.
const FINE_STEPS: f32 = 8355000.0;
// An activation is kept apart where it is this many times the root of the mean square.
const CREST: f32 = 4.0;

// Half of a chunk, with what it shares with the other half.
struct RoundedHalf {
    high: vec4<u32>,
    middle: vec4<u32>,
    apart: u32,
    step: f32,
    sum: f32,
}

// The same in three digits.
struct FineHalf {
    high: vec4<u32>,
    middle: vec4<u32>,
    low: vec4<u32>,
    step: f32,
    sum: f32,
}

// Bytes are digits once half of what a digit can be was added to each.
fn bytes_of(steps: vec4<f32>) -> vec4<u32> {
    let integers = bitcast<vec4<u32>>(vec4<i32>(steps));
    return (integers + vec4<u32>(0x00808080u)) ^ vec4<u32>(0x00808080u);
}

// The bytes of four quads of activations, and byte `place` of each.
struct Bytes { a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32> }
fn bytes_of_quads(steps: mat4x4<f32>) -> Bytes {
    return Bytes(bytes_of(steps[0]), bytes_of(steps[1]), bytes_of(steps[2]), bytes_of(steps[3]));
}
fn digit(bytes: Bytes, place: u32) -> vec4<u32> {
    let by = vec4<u32>(8u * place);
    return vec4<u32>(
        pack4xU8(bytes.a >> by),
        pack4xU8(bytes.b >> by),
        pack4xU8(bytes.c >> by),
        pack4xU8(bytes.d >> by),
    );
}

fn largest_of(values: mat4x4<f32>) -> f32 {
    let sizes = max(max(abs(values[0]), abs(values[1])), max(abs(values[2]), abs(values[3])));
    return max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
}

fn sum_of(values: mat4x4<f32>) -> f32 {
    return dot(values[0] + values[1] + values[2] + values[3], vec4<f32>(1.0));
}

// Rounds the columns of `own`, a quad each; `other` is the other half.
fn round_finely(own: mat4x4<f32>, other: mat4x4<f32>) -> FineHalf {
    let largest = max(largest_of(own), largest_of(other));
    // The reciprocal of less would be infinite: such a chunk counts as zero.
    let is_there = largest > 1.0e-30;
    let steps = in_steps(own, select(0.0, FINE_STEPS / largest, is_there));
    let step = select(0.0, largest / FINE_STEPS, is_there);
    let sum = sum_of(own) + sum_of(other);
    let bytes = bytes_of_quads(steps);
    return FineHalf(digit(bytes, 2u), digit(bytes, 1u), digit(bytes, 0u), step, sum);
}

// The same in two digits, with what is kept apart; `other` is the second half where it matters.
fn round_half(own: mat4x4<f32>, other: mat4x4<f32>) -> RoundedHalf {
    let largest = max(largest_of(own), largest_of(other));
    let value = value_apart(own, other, largest);
    let place = place_of(own, largest, 0.0) + place_of(other, largest, 16.0);
    let apart = select(0u, bitcast<u32>(value) | u32(place), value != 0.0);

    let own_rest = without(own, largest, value);
    let other_rest = without(other, largest, value);
    let largest_rest = max(largest_of(own_rest), largest_of(other_rest));
    // The reciprocal of less would be infinite: such a chunk counts as zero.
    let is_there = largest_rest > 1.0e-30;
    let inverse = select(0.0, STEPS / largest_rest, is_there);
    let step = select(0.0, largest_rest / STEPS, is_there);
    let steps = in_steps(own_rest, inverse);
    // The sum is what codes are counted from zero by: rounded as they are, or their errors would count eightfold.
    let sum = (sum_of(steps) + sum_of(in_steps(other_rest, inverse))) * step + value;
    let bytes = bytes_of_quads(steps);
    return RoundedHalf(digit(bytes, 1u), digit(bytes, 0u), apart, step, sum);
}

// The largest activation of a chunk where it dwarfs the others, or 0. Its five lowest bits are left to them: they are
// of no weight in such a number, and say where it stands. No other can be as large, as it has more than half of all
// squares.
fn value_apart(own: mat4x4<f32>, other: mat4x4<f32>, largest: f32) -> f32 {
    let is_there = largest > 1.0e-30;
    let relative = 1.0 / select(1.0, largest, is_there);
    let squares = squares_of(scaled(own, relative)) + squares_of(scaled(other, relative));
    if (!is_there || squares * (CREST * CREST) >= 32.0) {
        return 0.0;
    }
    let value = sum_of(only(own, largest)) + sum_of(only(other, largest));
    return bitcast<f32>(bitcast<u32>(value) & 0xFFFFFFE0u);
}

// What is as large as `largest`, all else zero.
fn only(values: mat4x4<f32>, largest: f32) -> mat4x4<f32> {
    let none = vec4<f32>(0.0);
    let size = vec4<f32>(largest);
    return mat4x4<f32>(
        select(none, values[0], abs(values[0]) == size),
        select(none, values[1], abs(values[1]) == size),
        select(none, values[2], abs(values[2]) == size),
        select(none, values[3], abs(values[3]) == size),
    );
}

// Its place, of a half whose first is at `base`; 0 where it is not in it.
fn place_of(values: mat4x4<f32>, largest: f32, base: f32) -> f32 {
    let size = vec4<f32>(largest);
    let places = vec4<f32>(base) + vec4<f32>(0.0, 1.0, 2.0, 3.0);
    return dot(vec4<f32>(abs(values[0]) == size), places)
        + dot(vec4<f32>(abs(values[1]) == size), places + 4.0)
        + dot(vec4<f32>(abs(values[2]) == size), places + 8.0)
        + dot(vec4<f32>(abs(values[3]) == size), places + 12.0);
}

// What is left to be rounded where `value` of the largest is kept apart.
fn without(values: mat4x4<f32>, largest: f32, value: f32) -> mat4x4<f32> {
    let size = vec4<f32>(largest);
    let by = vec4<f32>(value);
    return mat4x4<f32>(
        values[0] - by * vec4<f32>(abs(values[0]) == size),
        values[1] - by * vec4<f32>(abs(values[1]) == size),
        values[2] - by * vec4<f32>(abs(values[2]) == size),
        values[3] - by * vec4<f32>(abs(values[3]) == size),
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
