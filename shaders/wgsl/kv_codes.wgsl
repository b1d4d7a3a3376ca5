// Codes of 8 and of 4 bits for keys and values: see engine/src/kv/rows.rs.

// The one that is further from zero, the first of equals.
fn further(a: f32, b: f32) -> f32 {
    return select(a, b, abs(b) > abs(a));
}

fn extreme4(numbers: vec4<f32>) -> f32 {
    return further(further(numbers.x, numbers.y), further(numbers.z, numbers.w));
}

// What a step is worth, as it is stored.
fn scale_of(bits: u32, extreme: f32) -> f32 {
    let d = select(abs(extreme) / 127.0, extreme / -8.0, bits == 4u);
    return unpack2x16float(pack2x16float(vec2<f32>(d, 0.0))).x;
}

// Four codes, a byte each.
fn codes_of(bits: u32, numbers: vec4<f32>, d: f32) -> u32 {
    let steps = select(vec4<f32>(0.0), numbers / select(1.0, d, d != 0.0), d != 0.0);
    if (bits == 4u) {
        return pack4xU8(vec4<u32>(clamp(floor(steps + 8.5), vec4<f32>(0.0), vec4<f32>(15.0))));
    }
    return pack4xI8(vec4<i32>(clamp(floor(steps + 0.5), vec4<f32>(-127.0), vec4<f32>(127.0))));
}
