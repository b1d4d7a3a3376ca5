// Stands before the worker of the real page: where the case's name says so, the engine's own GPU
// device breaks under it as soon as the engine submits its first work.

let fault = null;
self.addEventListener("message", ({ data }) => {
  fault = faults[JSON.parse(data).cell?.case] ?? null;
});

// Ages, and not for ever: lavapipe leaves the loops of an invocation after 65,536 turns, so it takes
// many invocations.
const ENDLESS = `
@group(0) @binding(0) var<storage, read_write> word: u32;
@compute @workgroup_size(64) fn main() {
  for (var turn = 0u; turn < 65535u; turn++) { word = word * 1664525u + turn; }
}`;

const faults = {
  __proto__: null,
  "loses-its-gpu"(device) {
    device.destroy();
  },
  "never-ends"(device) {
    const compute = { module: device.createShaderModule({ code: ENDLESS }) };
    const pipeline = device.createComputePipeline({ layout: "auto", compute });
    const buffer = device.createBuffer({ size: 4, usage: GPUBufferUsage.STORAGE });
    const entries = [{ binding: 0, resource: { buffer } }];
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(65535, 65535);
    pass.end();
    return [encoder.finish()];
  },
};

const devices = new WeakMap();
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  devices.set(device.queue, device);
  return device;
};

const { submit } = GPUQueue.prototype;
GPUQueue.prototype.submit = function (commands) {
  const now = fault;
  fault = null;
  const own = now?.(devices.get(this)) ?? [];
  return submit.call(this, [...own, ...commands]);
};
