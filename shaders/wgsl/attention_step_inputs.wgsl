// What a step of a decoder's attention is given, whichever kernel takes it.
//
// K_BITS and V_BITS: the cache has rows of so few bits (see kv_rows.wgsl), those of 4 turned by a Hadamard matrix
// before; WIDTH is a multiple of 32 then.
//
// RING: a text may be longer than the cache. Its first tokens keep their places (the sinks); whatever comes when all
// are taken goes where the oldest of the others is. Keys are turned by their positions in the text, and so the query
// is what moves: sinks see it from as far away as the cache is long (Xiao et al. 2023).

struct Params {
    rows: u32,       // B · H · splits
    heads: u32,      // H, of queries
    kv_heads: u32,   // KV; heads is a multiple
    capacity: u32,   // positions the cache has room for
    window: u32,     // keys a query sees, its own included; 2³² − 1 for all
    scale: f32,
    splits: u32,     // workgroups of a head
    tokens: u32,     // T, of this pass, of which one is looked at
    token: u32,      // which one
    sinks: u32,      // RING: places that are never taken again
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [B, T, H + 2 · KV, D]
@group(0) @binding(2) var<storage, read> angles: array<vec4<f32>>;         // [positions, D / 2], (cos, sin)
@group(0) @binding(3) var<storage, read> step: array<u32>;                 // [0]: positions before
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;        // [B, T, H, D]; SPLIT: [B, H, splits, D + 4]
#if K_BITS
@group(0) @binding(5) var<storage, read_write> keys: array<u32>;           // [B, KV, capacity] rows
@group(0) @binding(6) var<storage, read_write> values: array<u32>;         // [B, KV, capacity] rows
#else
@group(0) @binding(5) var<storage, read_write> keys: array<vec4<f32>>;     // [B, KV, capacity, D]
@group(0) @binding(6) var<storage, read_write> values: array<vec4<f32>>;   // [B, KV, capacity, D]
#endif

const QUADS: u32 = WIDTH / 4u;
const HALF: u32 = WIDTH / 8u;   // quads of half a head

// Where the key and the value of a position lie.
fn place_of(position: u32) -> u32 {
#if RING
    if (position >= params.capacity) {
        return params.sinks + (position - params.sinks) % (params.capacity - params.sinks);
    }
#endif
    return position;
}

// Four pairs by angles (cos, sin, cos, sin) twice: the first of each, then the second.
fn turn(a: vec4<f32>, b: vec4<f32>, low: vec4<f32>, high: vec4<f32>) -> mat2x4<f32> {
    let cosines = vec4<f32>(a.x, a.z, b.x, b.z);
    let sines = vec4<f32>(a.y, a.w, b.y, b.w);
    return mat2x4<f32>(low * cosines - high * sines, high * cosines + low * sines);
}
