// The activation KIND: 0 gelu, 1 gelu by tanh, 2 quick gelu, 3 silu, 4 relu, 5 tanh, 6 sigmoid.

// exp and tanh are only promised away from the ends of their range, hence the clamps.
fn safe_tanh(x: f32) -> f32 {
    return tanh(clamp(x, -15.0, 15.0));
}

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-clamp(x, -80.0, 80.0)));
}

// Abramowitz and Stegun 7.1.26 is good to 1.5e-7, which is f32's own resolution around 1.
fn erf(x: f32) -> f32 {
    let a = abs(x);
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let poly = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return sign(x) * (1.0 - poly * exp(-min(a * a, 80.0)));
}

fn activate(x: f32) -> f32 {
#if KIND == 0
    return 0.5 * x * (1.0 + erf(x * 0.70710678118654752));
#elif KIND == 1
    return 0.5 * x * (1.0 + safe_tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
#elif KIND == 2
    return x * sigmoid(1.702 * x);
#elif KIND == 3
    return x * sigmoid(x);
#elif KIND == 4
    return max(x, 0.0);
#elif KIND == 5
    return safe_tanh(x);
#else
    return sigmoid(x);
#endif
}
