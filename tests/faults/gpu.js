// Stands before the worker of the real page: where the case's name says so, the engine's own GPU
// device breaks under it as soon as the engine submits its first work, or goes wrong in the middle of
// a decode.

let fault = null;
let decoding = null;
self.addEventListener("message", ({ data }) => {
  const name = JSON.parse(data).cell?.case;
  fault = faults[name] ?? null;
  decoding = decodeFaults[name] ?? null;
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

// The last kernel of a decode step, in which the next one begins: with one of its lines left out, or
// with the third dispatch behind it lost.
const CLOSES_A_STEP = "emitted[step[1]]";
const decodeFaults = {
  __proto__: null,
  "keeps-its-position": { line: "step[0] += 1u;" },
  "keeps-its-token": { line: "input[0] = chosen[0];" },
  "loses-a-dispatch": { lost: 3 },
};

const texts = new WeakMap();
const closing = new WeakMap();
const { createShaderModule, createComputePipeline, createComputePipelineAsync } = GPUDevice.prototype;
GPUDevice.prototype.createShaderModule = function (descriptor) {
  const module = createShaderModule.call(this, descriptor);
  texts.set(module, descriptor.code);
  return module;
};
GPUDevice.prototype.createComputePipeline = function (descriptor) {
  return noted(this, descriptor, createComputePipeline.call(this, descriptor));
};
GPUDevice.prototype.createComputePipelineAsync = async function (descriptor) {
  return noted(this, descriptor, await createComputePipelineAsync.call(this, descriptor));
};

function noted(device, descriptor, pipeline) {
  const text = texts.get(descriptor.compute.module);
  if (text.includes(CLOSES_A_STEP)) {
    const without = (line) => {
      const module = createShaderModule.call(device, { code: text.replace(line, "") });
      const compute = { ...descriptor.compute, module };
      return createComputePipeline.call(device, { ...descriptor, compute });
    };
    const lines = Object.values(decodeFaults).flatMap(({ line }) => line ?? []);
    closing.set(pipeline, Object.fromEntries(lines.map((line) => [line, without(line)])));
  }
  return pipeline;
}

let since = Infinity;
const { setPipeline, dispatchWorkgroups } = GPUComputePassEncoder.prototype;
GPUComputePassEncoder.prototype.setPipeline = function (pipeline) {
  const variants = closing.get(pipeline);
  since = variants ? 0 : since + 1;
  return setPipeline.call(this, variants?.[decoding?.line] ?? pipeline);
};
GPUComputePassEncoder.prototype.dispatchWorkgroups = function (...groups) {
  if (since === decoding?.lost) return;
  return dispatchWorkgroups.apply(this, groups);
};
