// What attention_step.wgsl does, where there are subgroups: LANES invocations share a key, and each holds its part of
// the query, of the sum over values and of the largest score in registers. Nobody waits for anybody until all keys
// have been seen: a step is a chain of waits for memory, and here those are for the position, for the token
// together with the first keys and values, and for what each subgroup has found.
//
// WIDTH is 32, 64 or 128, and a subgroup has eight invocations or a multiple.

#include "attention_step_inputs.wgsl"
#include "rows.wgsl"

#if WIDTH == 32
const LANES: u32 = 4u;
#else
const LANES: u32 = 8u;
#endif
const MEMBERS: u32 = WG / LANES;   // keys that are looked at together

// The quads of a head that an invocation holds: pairs that turn together.
struct Part {
    low: vec4<f32>,
    high: vec4<f32>,
#if WIDTH == 128
    next_low: vec4<f32>,
    next_high: vec4<f32>,
#endif
}

struct Token {
    key: Part,
    value: Part,
}

// What subgroups have found.
var<workgroup> accs: array<vec4<f32>, MEMBERS * QUADS>;
var<workgroup> tops: array<f32, MEMBERS>;
var<workgroup> totals: array<f32, MEMBERS>;

fn given(at: u32, lane: u32) -> Part {
    var part: Part;
    part.low = x[at + lane];
    part.high = x[at + lane + HALF];
#if WIDTH == 128
    part.next_low = x[at + lane + LANES];
    part.next_high = x[at + lane + LANES + HALF];
#endif
    return part;
}

#if K_BITS
#include "attention_lanes_rows.wgsl"
#include "attention_lanes_codes.wgsl"
#else
alias Query = Part;
alias Words = Part;

fn query_of(part: Part, lane: u32) -> Query {
    return part;
}

fn fetch_key(row: u32, lane: u32) -> Words {
    let at = row * QUADS + lane;
    var part: Part;
    part.low = keys[at];
    part.high = keys[at + HALF];
#if WIDTH == 128
    part.next_low = keys[at + LANES];
    part.next_high = keys[at + LANES + HALF];
#endif
    return part;
}

fn fetch_value(row: u32, lane: u32) -> Words {
    let at = row * QUADS + lane;
    var part: Part;
    part.low = values[at];
    part.high = values[at + HALF];
#if WIDTH == 128
    part.next_low = values[at + LANES];
    part.next_high = values[at + LANES + HALF];
#endif
    return part;
}

#if RING
fn seen(query: Query, for_sinks: Query, is_sink: bool) -> Query {
    return part_seen(query, for_sinks, is_sink);
}
#endif

fn asked(query: Query, key: Words, lane: u32) -> f32 {
    return score_of(query, key);
}

fn weighed(acc: Part, value: Words, weight: f32, lane: u32) -> Part {
    return added(acc, value, weight);
}

// The token's key and value as they come out of the cache, into which they go, if they are stored here.
fn as_stored(token: Token, row: u32, stores: bool, lane: u32) -> Token {
    if (stores) {
        let at = row * QUADS + lane;
        keys[at] = token.key.low;
        keys[at + HALF] = token.key.high;
        values[at] = token.value.low;
        values[at + HALF] = token.value.high;
#if WIDTH == 128
        keys[at + LANES] = token.key.next_low;
        keys[at + LANES + HALF] = token.key.next_high;
        values[at + LANES] = token.value.next_low;
        values[at + LANES + HALF] = token.value.next_high;
#endif
    }
    return token;
}
#endif

#if RING
// The query as the key in a place is seen.
fn part_seen(query: Part, for_sinks: Part, is_sink: bool) -> Part {
    var result: Part;
    result.low = select(query.low, for_sinks.low, is_sink);
    result.high = select(query.high, for_sinks.high, is_sink);
#if WIDTH == 128
    result.next_low = select(query.next_low, for_sinks.next_low, is_sink);
    result.next_high = select(query.next_high, for_sinks.next_high, is_sink);
#endif
    return result;
}
#endif

fn turned(part: Part, position: u32, lane: u32) -> Part {
    let at = (position * HALF + lane) * 2u;
    let both = turn(angles[at], angles[at + 1u], part.low, part.high);
    var result: Part;
    result.low = both[0];
    result.high = both[1];
#if WIDTH == 128
    let next = at + 2u * LANES;
    let others = turn(angles[next], angles[next + 1u], part.next_low, part.next_high);
    result.next_low = others[0];
    result.next_high = others[1];
#endif
    return result;
}

// The sum over all lanes that share a key.
fn over_lanes(own: f32) -> f32 {
    var sum = own;
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
#if WIDTH > 32
    sum += subgroupShuffleXor(sum, 4u);
#endif
    return sum;
}

fn score_of(query: Part, key: Part) -> f32 {
    var sum = dot(query.low, key.low) + dot(query.high, key.high);
#if WIDTH == 128
    sum += dot(query.next_low, key.next_low) + dot(query.next_high, key.next_high);
#endif
    return over_lanes(sum);
}

fn scaled(part: Part, by: f32) -> Part {
    var result: Part;
    result.low = part.low * by;
    result.high = part.high * by;
#if WIDTH == 128
    result.next_low = part.next_low * by;
    result.next_high = part.next_high * by;
#endif
    return result;
}

fn added(acc: Part, part: Part, weight: f32) -> Part {
    var result: Part;
    result.low = acc.low + part.low * weight;
    result.high = acc.high + part.high * weight;
#if WIDTH == 128
    result.next_low = acc.next_low + part.next_low * weight;
    result.next_high = acc.next_high + part.next_high * weight;
#endif
    return result;
}

// What the invocation so many places further holds.
fn others(part: Part, places: u32) -> Part {
    var result: Part;
    result.low = subgroupShuffleXor(part.low, places);
    result.high = subgroupShuffleXor(part.high, places);
#if WIDTH == 128
    result.next_low = subgroupShuffleXor(part.next_low, places);
    result.next_high = subgroupShuffleXor(part.next_high, places);
#endif
    return result;
}

// A weight relative to the largest score; e⁻⁸⁰ adds nothing.
fn relative(score: f32, top: f32) -> f32 {
    return exp(max(score - top, -80.0));
}

fn compute_row(index: u32, invocation: u32, size: u32) {
    let row = index / params.splits;
    let split = index % params.splits;
    let group_heads = params.heads / params.kv_heads;
    let head = row % params.heads;
    let kv_head = head / group_heads;
    let batch = row / params.heads;
    let cache = (batch * params.kv_heads + kv_head) * params.capacity;
    let token = batch * params.tokens + params.token;
    let given_at = token * (params.heads + 2u * params.kv_heads);
    let lane = invocation % LANES;
    let member = invocation / LANES;

    let position = step[0] + params.token;
    let place = place_of(position);
    let start = max(position + 1u, params.window) - params.window;
    let before = min(position, params.capacity);
    let share = (before - start + params.splits - 1u) / params.splits;
    let begin = min(start + split * share, before);
    let end = min(begin + share, before);
    let last = cache + max(end, 1u) - 1u;

    // The first two keys and values of each member are on their way while the token turns.
    let first = cache + begin + member;
    var near_key = fetch_key(min(first, last), lane);
    var far_key = fetch_key(min(first + MEMBERS, last), lane);
    var near_value = fetch_value(min(first, last), lane);
    var far_value = fetch_value(min(first + MEMBERS, last), lane);
    let key_at = (given_at + params.heads + kv_head) * QUADS;
    var own: Token;
    own.key = turned(given(key_at, lane), position, lane);
    own.value = given(key_at + params.kv_heads * QUADS, lane);
    let plain = scaled(given((given_at + head) * QUADS, lane), params.scale);
    var query = turned(plain, position, lane);
#if RING
    var for_sinks = turned(plain, min(position, params.capacity - 1u), lane);
#endif
#if V_BITS == 4
    own.value = turned_part(own.value, lane);
#endif
#if K_BITS == 4
    own.key = turned_part(own.key, lane);
    query = turned_part(query, lane);
#if RING
    for_sinks = turned_part(for_sinks, lane);
#endif
#endif
    let is_first = split == 0u && member == 0u;
    let stores = is_first && head % group_heads == 0u && place < params.capacity;
    own = as_stored(own, cache + place, stores, lane);

    // The token sees itself first, as later ones will.
    let score = score_of(query, own.key);
    let asks = query_of(query, lane);
#if RING
    let sinks_ask = query_of(for_sinks, lane);
#endif
    var largest = select(-3.0e38, score, is_first);
    var sum = select(0.0, 1.0, is_first);
    var acc = scaled(own.value, sum);
    for (var behind = begin; behind < end; behind += 2u * MEMBERS) {
        let near = behind + member;
        let ahead = cache + near + 2u * MEMBERS;
        let key_a = near_key;
        let key_b = far_key;
        let value_a = near_value;
        let value_b = far_value;
        near_key = fetch_key(min(ahead, last), lane);
        far_key = fetch_key(min(ahead + MEMBERS, last), lane);
        near_value = fetch_value(min(ahead, last), lane);
        far_value = fetch_value(min(ahead + MEMBERS, last), lane);
#if RING
        // The oldest token makes room for this one.
        let sees_a = near < end && near != place;
        let sees_b = near + MEMBERS < end && near + MEMBERS != place;
        let score_a = asked(seen(asks, sinks_ask, near < params.sinks), key_a, lane);
        let score_b = asked(seen(asks, sinks_ask, near + MEMBERS < params.sinks), key_b, lane);
#else
        let sees_a = near < end;
        let sees_b = near + MEMBERS < end;
        let score_a = asked(asks, key_a, lane);
        let score_b = asked(asks, key_b, lane);
#endif
        let top = max(largest, max(select(-3.0e38, score_a, sees_a), select(-3.0e38, score_b, sees_b)));
        let weight_a = select(0.0, relative(score_a, top), sees_a);
        let weight_b = select(0.0, relative(score_b, top), sees_b);
        let rescale = relative(largest, top);
        sum = sum * rescale + weight_a + weight_b;
        acc = weighed(scaled(acc, rescale), value_a, weight_a, lane);
        acc = weighed(acc, value_b, weight_b, lane);
        largest = top;
    }

    // The members of a subgroup, then those of all.
    var top = largest;
    for (var places = LANES; places < size; places <<= 1u) {
        top = max(top, subgroupShuffleXor(top, places));
    }
    let worth = relative(largest, top);
    sum *= worth;
    acc = scaled(acc, worth);
    for (var places = LANES; places < size; places <<= 1u) {
        sum += subgroupShuffleXor(sum, places);
        acc = added(acc, others(acc, places), 1.0);
    }
    if (invocation % size < LANES) {
        let subgroup = invocation / size;
        let at = subgroup * QUADS + lane;
        accs[at] = acc.low;
        accs[at + HALF] = acc.high;
#if WIDTH == 128
        accs[at + LANES] = acc.next_low;
        accs[at + LANES + HALF] = acc.next_high;
#endif
        if (lane == 0u) {
            tops[subgroup] = top;
            totals[subgroup] = sum;
        }
    }
    workgroupBarrier();
    let subgroups = WG / size;
    let quad = invocation % QUADS;
    var highest = tops[0];
    for (var i = 1u; i < subgroups; i++) {
        highest = max(highest, tops[i]);
    }
    var total = 0.0;
    var found = vec4<f32>(0.0);
    for (var i = 0u; i < subgroups; i++) {
        let weight = relative(tops[i], highest);
        total += totals[i] * weight;
        found += accs[i * QUADS + quad] * weight;
    }
#if V_BITS == 4
    // The matrix is its own inverse.
    found = turned_eight(found, quad);
#endif
    if (invocation < QUADS) {
#if SPLIT
        y[index * (QUADS + 1u) + quad] = found;
#else
        y[(token * params.heads + head) * QUADS + quad] = found / total;
#endif
    }
#if SPLIT
    if (invocation == 0u) {
        y[index * (QUADS + 1u) + QUADS] = vec4<f32>(highest, total, 0.0, 0.0);
    }
#endif
}
