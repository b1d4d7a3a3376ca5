// Draws a token from softmax(x / temperature) cut to the top_k most likely and, of those, to the
// fewest that hold top_p of their mass. One workgroup; top_k is 1 … 256.
//
// The k-th largest logit is found by radix selection, a byte at a time, on the order-preserving
// integer image of f32. The draw is the step's number hashed with the seed (PCG, O'Neill 2014), so
// that a run repeats on every device.

struct Params {
    columns: u32,
    top_k: u32,
    top_p: f32,
    inverse_temperature: f32,
    seed: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [C]
@group(0) @binding(2) var<storage, read> step: array<u32>;            // [0]: positions before
@group(0) @binding(3) var<storage, read_write> y: array<u32>;         // [1]

const CANDIDATES: u32 = 256u;
var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> chosen_byte: u32;
var<workgroup> chosen_rest: u32;
var<workgroup> filled: atomic<u32>;
var<workgroup> values: array<f32, CANDIDATES>;
var<workgroup> places: array<u32, CANDIDATES>;

// Larger floats have larger images.
fn image(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

fn pcg(seed: u32) -> u32 {
    let state = seed * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
    // Find the image of the top_k-th largest value, most significant byte first.
    var prefix = 0u;
    var rest = params.top_k;
    for (var shift = 32u; shift > 0u; shift -= 8u) {
        for (var i = lane; i < 256u; i += WG) {
            atomicStore(&counts[i], 0u);
        }
        workgroupBarrier();
        for (var c = lane; c < params.columns; c += WG) {
            let bits = image(x[c]);
            if (shift == 32u || (bits >> (shift & 31u)) == prefix) {
                atomicAdd(&counts[(bits >> (shift - 8u)) & 255u], 1u);
            }
        }
        workgroupBarrier();
        if (lane == 0u) {
            var left = rest;
            var byte = 255u;
            loop {
                let here = atomicLoad(&counts[byte]);
                if (here >= left || byte == 0u) {
                    break;
                }
                left -= here;
                byte -= 1u;
            }
            chosen_byte = byte;
            chosen_rest = left;
        }
        workgroupBarrier();
        prefix = (prefix << 8u) | chosen_byte;
        rest = chosen_rest;
        workgroupBarrier();
    }

    // Everything above the threshold is a candidate; of those equal to it, the first `rest` are.
    if (lane == 0u) {
        atomicStore(&filled, 0u);
    }
    workgroupBarrier();
    for (var c = lane; c < params.columns; c += WG) {
        if (image(x[c]) > prefix) {
            let at = atomicAdd(&filled, 1u);
            if (at < CANDIDATES) {
                values[at] = x[c];
                places[at] = c;
            }
        }
    }
    workgroupBarrier();
    if (lane != 0u) {
        return;
    }
    var count = min(atomicLoad(&filled), CANDIDATES);
    for (var c = 0u; c < params.columns && count < params.top_k; c++) {
        if (image(x[c]) == prefix) {
            values[count] = x[c];
            places[count] = c;
            count++;
        }
    }

    // Sort by value, then by place: the threads above filled the list in no fixed order.
    for (var i = 1u; i < count; i++) {
        let value = values[i];
        let place = places[i];
        var j = i;
        while (j > 0u && (values[j - 1u] < value || (values[j - 1u] == value && places[j - 1u] > place))) {
            values[j] = values[j - 1u];
            places[j] = places[j - 1u];
            j--;
        }
        values[j] = value;
        places[j] = place;
    }
    let largest = values[0];
    var mass = 0.0;
    for (var i = 0u; i < count; i++) {
        values[i] = exp(max((values[i] - largest) * params.inverse_temperature, -80.0));
        mass += values[i];
    }
    var kept = 0u;
    var kept_mass = 0.0;
    while (kept < count && (kept == 0u || kept_mass < params.top_p * mass)) {
        kept_mass += values[kept];
        kept++;
    }
    let draw = f32(pcg(params.seed ^ pcg(step[0])) >> 8u) / 16777216.0 * kept_mass;
    var at = 0u;
    var below = values[0];
    while (at + 1u < kept && below <= draw) {
        at++;
        below += values[at];
    }
    y[0] = places[at];
}
