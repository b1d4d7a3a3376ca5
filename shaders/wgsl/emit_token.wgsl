// Closes a decode step on the device: the new token becomes the next input and joins the list,
// and one more position lies before the next step. One invocation.

@group(0) @binding(1) var<storage, read> chosen: array<u32>;          // [1]
@group(0) @binding(2) var<storage, read_write> input: array<u32>;     // [1]
@group(0) @binding(3) var<storage, read_write> emitted: array<u32>;   // [limit]
@group(0) @binding(4) var<storage, read_write> step: array<u32>;      // [positions before, emitted]

@compute @workgroup_size(WG)
fn main() {
    input[0] = chosen[0];
    if (step[1] < arrayLength(&emitted)) {
        emitted[step[1]] = chosen[0];
    }
    step[0] += 1u;
    step[1] += 1u;
}
