// Four bytes as numbers. Converting integers takes four times as long as anything else here, so each
// byte becomes the first bits of the fraction of a float between 1 and 2. Larger floats would save the
// product, but compilers that join constants round them away there.
fn bytes4(word: u32) -> vec4<f32> {
    let fractions = vec4<u32>(word << 15u, word << 7u, word >> 1u, word >> 9u) & vec4<u32>(0x007F8000u);
    return bitcast<vec4<f32>>(fractions | vec4<u32>(0x3F800000u)) * 256.0 - 256.0;
}

// The same of bytes that have a sign.
fn signed4(word: u32) -> vec4<f32> {
    return bytes4(word ^ 0x80808080u) - 128.0;
}
