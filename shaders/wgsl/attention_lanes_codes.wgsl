// How attention_lanes.wgsl reads a cache of few bits. What is on its way are words as they lie: a number that is made
// of them at once would have to be waited for. Queries meet the codes of keys as whole steps, in integers: a step is so
// small beside the largest number of a query that nobody can tell, and three digits of a byte hold them. Weights of
// values take their scales along.

// The words of a lane's quads, in their order in Part.
#if K_BITS == 16
struct Words {
    low: vec2<u32>,
    high: vec2<u32>,
#if WIDTH == 128
    next_low: vec2<u32>,
    next_high: vec2<u32>,
#endif
}
#else
struct Words {
    codes: vec4<u32>,
    scales: vec2<u32>,
}
#endif

#if K_BITS == 16
alias Query = Part;
fn query_of(part: Part, lane: u32) -> Query {
    return part;
}

fn floats(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn part_of(words: Words) -> Part {
    var part: Part;
    part.low = floats(words.low);
    part.high = floats(words.high);
#if WIDTH == 128
    part.next_low = floats(words.next_low);
    part.next_high = floats(words.next_high);
#endif
    return part;
}

fn key_pair(row: u32, quad: u32) -> vec2<u32> {
    let at = quad_at(16u, row, quad);
    return vec2<u32>(keys[at], keys[at + 1u]);
}
fn value_pair(row: u32, quad: u32) -> vec2<u32> {
    let at = quad_at(16u, row, quad);
    return vec2<u32>(values[at], values[at + 1u]);
}

fn fetch_key(row: u32, lane: u32) -> Words {
    var words: Words;
    words.low = key_pair(row, lane);
    words.high = key_pair(row, lane + HALF);
#if WIDTH == 128
    words.next_low = key_pair(row, lane + LANES);
    words.next_high = key_pair(row, lane + LANES + HALF);
#endif
    return words;
}
fn fetch_value(row: u32, lane: u32) -> Words {
    var words: Words;
    words.low = value_pair(row, lane);
    words.high = value_pair(row, lane + HALF);
#if WIDTH == 128
    words.next_low = value_pair(row, lane + LANES);
    words.next_high = value_pair(row, lane + LANES + HALF);
#endif
    return words;
}

#if RING
fn seen(query: Query, for_sinks: Query, is_sink: bool) -> Query {
    return part_seen(query, for_sinks, is_sink);
}
#endif

fn asked(query: Query, key: Words, lane: u32) -> f32 {
    return score_of(query, part_of(key));
}

fn weighed(acc: Part, value: Words, weight: f32, lane: u32) -> Part {
    return added(acc, part_of(value), weight);
}
#else
fn fetch_key(row: u32, lane: u32) -> Words {
    var words: Words;
    words.codes.x = keys[quad_at(K_BITS, row, lane)];
    words.codes.y = keys[quad_at(K_BITS, row, lane + HALF)];
    words.scales.x = keys[scale_at(K_BITS, row, 0u)];
#if WIDTH == 128
    words.codes.z = keys[quad_at(K_BITS, row, lane + LANES)];
    words.codes.w = keys[quad_at(K_BITS, row, lane + LANES + HALF)];
    words.scales.y = keys[scale_at(K_BITS, row, HALF)];
#endif
    return words;
}
fn fetch_value(row: u32, lane: u32) -> Words {
    var words: Words;
    words.codes.x = values[quad_at(V_BITS, row, lane)];
    words.codes.y = values[quad_at(V_BITS, row, lane + HALF)];
    words.scales.x = values[scale_at(V_BITS, row, 0u)];
#if WIDTH == 128
    words.codes.z = values[quad_at(V_BITS, row, lane + LANES)];
    words.codes.w = values[quad_at(V_BITS, row, lane + LANES + HALF)];
    words.scales.y = values[scale_at(V_BITS, row, HALF)];
#endif
    return words;
}

// The scales of a lane's quads.
fn scales_in(words: Words) -> vec4<f32> {
    let first = unpack2x16float(words.scales.x);
#if WIDTH == 32
    return first.xxxx;
#elif WIDTH == 64
    return first.xyxy;
#else
    let second = unpack2x16float(words.scales.y);
    return vec4<f32>(first.x, second.x, first.y, second.y);
#endif
}

// Codes of a lane's quads, a byte each; of 4 bits the fifth quad of a chunk lies above the first.
fn bytes_in(bits: u32, words: Words, lane: u32) -> vec4<u32> {
    if (bits == 8u) {
        return words.codes;
    }
#if WIDTH == 32
    return (words.codes >> vec4<u32>(0u, 4u, 0u, 0u)) & vec4<u32>(0x0F0F0F0Fu);
#else
    return (words.codes >> vec4<u32>(lane & 4u)) & vec4<u32>(0x0F0F0F0Fu);
#endif
}

// Of numbers in whole steps, a byte of each number a digit, and what they add up to, a quad each.
struct Query {
    high: vec4<u32>,
    middle: vec4<u32>,
    low: vec4<u32>,
    sums: vec4<i32>,
    step: f32,
}

// The first digit is 32 at most, so that sums over four codes have room.
const MOST_STEPS: f32 = 2080000.0;

fn size_of(part: Part) -> f32 {
    var sizes = max(abs(part.low), abs(part.high));
#if WIDTH == 128
    sizes = max(sizes, max(abs(part.next_low), abs(part.next_high)));
#endif
    return max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
}

// A digit of each of four numbers whose bytes are digits.
fn digit_of(bytes: vec4<u32>, place: u32) -> u32 {
    return pack4xU8((bytes >> vec4<u32>(8u * place)) & vec4<u32>(0xFFu));
}

fn query_of(part: Part, lane: u32) -> Query {
    var largest = size_of(part);
    largest = max(largest, subgroupShuffleXor(largest, 1u));
    largest = max(largest, subgroupShuffleXor(largest, 2u));
#if WIDTH > 32
    largest = max(largest, subgroupShuffleXor(largest, 4u));
#endif
    // The reciprocal of less would be infinite: such a query counts as zero.
    let is_there = largest > 1.0e-30;
    let inverse = select(0.0, MOST_STEPS / largest, is_there);
    var query: Query;
    query.step = select(0.0, largest / MOST_STEPS, is_there);
    let low = in_digits(part.low * inverse);
    let high = in_digits(part.high * inverse);
    query.high = vec4<u32>(digit_of(low.bytes, 2u), digit_of(high.bytes, 2u), 0u, 0u);
    query.middle = vec4<u32>(digit_of(low.bytes, 1u), digit_of(high.bytes, 1u), 0u, 0u);
    query.low = vec4<u32>(digit_of(low.bytes, 0u), digit_of(high.bytes, 0u), 0u, 0u);
    query.sums = vec4<i32>(low.sum, high.sum, 0, 0);
#if WIDTH == 128
    let next_low = in_digits(part.next_low * inverse);
    let next_high = in_digits(part.next_high * inverse);
    query.high = vec4<u32>(query.high.xy, digit_of(next_low.bytes, 2u), digit_of(next_high.bytes, 2u));
    query.middle = vec4<u32>(query.middle.xy, digit_of(next_low.bytes, 1u), digit_of(next_high.bytes, 1u));
    query.low = vec4<u32>(query.low.xy, digit_of(next_low.bytes, 0u), digit_of(next_high.bytes, 0u));
    query.sums = vec4<i32>(query.sums.xy, next_low.sum, next_high.sum);
#endif
    return query;
}

struct Digits {
    bytes: vec4<u32>,
    sum: i32,
}
fn in_digits(numbers: vec4<f32>) -> Digits {
    let steps = vec4<i32>(round(numbers));
    // Bytes are digits with a sign once half of what a digit can be was added to each.
    let bytes = (bitcast<vec4<u32>>(steps) + vec4<u32>(0x00808080u)) ^ vec4<u32>(0x00808080u);
    return Digits(bytes, steps.x + steps.y + steps.z + steps.w);
}

#if RING
fn seen(query: Query, for_sinks: Query, is_sink: bool) -> Query {
    var result: Query;
    result.high = select(query.high, for_sinks.high, is_sink);
    result.middle = select(query.middle, for_sinks.middle, is_sink);
    result.low = select(query.low, for_sinks.low, is_sink);
    result.sums = select(query.sums, for_sinks.sums, is_sink);
    result.step = select(query.step, for_sinks.step, is_sink);
    return result;
}
#endif

// What a quad of a query makes of a quad of codes.
fn met(high: u32, middle: u32, low: u32, sum: i32, codes: u32) -> f32 {
    let digits = (dot4I8Packed(high, codes) * 256 + dot4I8Packed(middle, codes)) * 256;
    let total = digits + dot4I8Packed(low, codes);
#if K_BITS == 4
    return f32(total - 8 * sum);
#else
    return f32(total);
#endif
}

fn asked(query: Query, key: Words, lane: u32) -> f32 {
    let codes = bytes_in(K_BITS, key, lane);
    let scales = scales_in(key);
    var sum = scales.x * met(query.high.x, query.middle.x, query.low.x, query.sums.x, codes.x)
        + scales.y * met(query.high.y, query.middle.y, query.low.y, query.sums.y, codes.y);
#if WIDTH == 128
    sum += scales.z * met(query.high.z, query.middle.z, query.low.z, query.sums.z, codes.z)
        + scales.w * met(query.high.w, query.middle.w, query.low.w, query.sums.w, codes.w);
#endif
    return over_lanes(sum * query.step);
}

// The numbers of four codes in steps.
fn steps_of(codes: u32) -> vec4<f32> {
#if V_BITS == 8
    return signed4(codes);
#else
    return bytes4(codes) - 8.0;
#endif
}

fn weighed(acc: Part, value: Words, weight: f32, lane: u32) -> Part {
    let codes = bytes_in(V_BITS, value, lane);
    let by = scales_in(value) * weight;
    var result: Part;
    result.low = acc.low + steps_of(codes.x) * by.x;
    result.high = acc.high + steps_of(codes.y) * by.y;
#if WIDTH == 128
    result.next_low = acc.next_low + steps_of(codes.z) * by.z;
    result.next_high = acc.next_high + steps_of(codes.w) * by.w;
#endif
    return result;
}
#endif
