// Stands where the engine stands in the bundle and breaks in the way that the name of the case says,
// for real: traps, hangs and exhausted memory are those of the browser. All other cases pass. On the
// backend `webnn` it says that it is not supported, on `webgpu` that an op is wrong.

export default async function init() {}

const run = (outcome) => JSON.stringify({ answer: "run", ...outcome });

const probe = ({ backend }) => {
  const checks = [{ op: "rms_norm", rel_l2: 0 }];
  if (backend === "webgpu") checks.push({ op: "matvec q4", rel_l2: 1, error: "all zeros" });
  const unsupported = backend === "webnn" ? "no navigator.ml" : null;
  const engine = { version: "0.0.0", commit: "faults", variant: "none" };
  return JSON.stringify({ answer: "probe", engine, checks, unsupported });
};

// (module (func (export "a") unreachable))
const UNREACHABLE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 97, 0, 0, 10, 5, 1, 3, 0,
  0, 11,
]);

const expect = (actual, expected, what) => {
  if (actual !== expected) throw new Error(`${what} is ${actual}, not ${expected}`);
};

const stumbled = new Set();
let measured = 0;

const cases = {
  __proto__: null,
  async "traps"() {
    const { instance } = await WebAssembly.instantiate(UNREACHABLE);
    instance.exports.a();
  },
  async "hangs"(request, emit) {
    emit(JSON.stringify({ event: "stage", stage: "forward" }));
    for (;;);
  },
  async "exhausts-memory"() {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 16 });
    for (;;) memory.grow(4);
  },
  // Beyond its limit the tab is ended, and not the script.
  async "fills-the-tab"(request, emit) {
    emit(JSON.stringify({ event: "stage", stage: "load" }));
    const kept = [];
    // Few objects without references: those a collector walks through in no time, however full the heap is.
    for (;;) kept.push(new Array(1 << 24).fill(0.5));
  },
  async "breaks-later"() {
    setTimeout(() => { throw new Error("thrown outside of any call"); }, 10);
    await new Promise(() => {});
  },
  // Fails when it is run for the first time in a session.
  async "stumbles"({ cell }) {
    const again = stumbled.has(cell.case);
    stumbled.add(cell.case);
    return again ? run({ status: "pass" }) : run({ status: "fail", reason: "it stumbled" });
  },
  // Takes a millisecond, then two, then three.
  async "measures"() {
    const timing = { samples_ms: [++measured], median_ms: measured };
    return run({ status: "pass", timing });
  },
  async "waits"(request, emit) {
    emit(JSON.stringify({ event: "stage", stage: "measure" }));
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    return run({ status: "pass" });
  },
  // A full disk still has room in the last block of each file.
  async "waits and says much"() {
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    return run({ status: "pass", message: "much ".repeat(10_000) });
  },
  async "speaks-nonsense"(request, emit) {
    emit('{"event": "unheard of"}');
    await new Promise(() => {});
  },
  // Reads each file of the case as the engine does, whole and in part.
  async "reads files"({ case_url, files }) {
    expect(self.crossOriginIsolated, true, "crossOriginIsolated");
    for (const { name, bytes } of files) {
      const url = new URL(name.split("/").map(encodeURIComponent).join("/"), case_url);
      const whole = await fetch(url);
      expect(whole.status, 200, `status of ${name}`);
      const content = await whole.arrayBuffer();
      expect(content.byteLength, bytes, `length of ${name}`);
      const part = await fetch(url, { headers: { Range: "bytes=1-1" } });
      expect(part.status, 206, `status of a part of ${name}`);
      const byte = new Uint8Array(await part.arrayBuffer());
      expect(byte[0], new Uint8Array(content)[1], `second byte of ${name}`);
    }
    const missing = await fetch(new URL("absent.bin", case_url));
    expect(missing.status, 404, "status of an absent file");
    return run({ status: "pass", reason: `${files.length} files` });
  },
  // Compiles the texts in the case's kernels.json that need nothing the adapter does not offer.
  async "compiles kernels"({ case_url }) {
    const kernels = await (await fetch(new URL("kernels.json", case_url))).json();
    const adapter = await navigator.gpu.requestAdapter();
    const offered = ["subgroups", "shader-f16"].filter((name) => adapter.features.has(name));
    const device = await adapter.requestDevice({ requiredFeatures: offered });
    const fit = kernels.filter(({ needs }) => needs.every((name) => offered.includes(name)));
    const errors = await Promise.all(fit.map(async ({ name, text }) => {
      const module = device.createShaderModule({ code: text });
      const { messages } = await module.getCompilationInfo();
      const error = messages.find(({ type }) => type === "error");
      return error && `${name}, line ${error.lineNum}: ${error.message}`;
    }));
    const [first] = errors.filter(Boolean);
    if (first) return run({ status: "fail", reason: first });
    return run({ status: "pass", reason: `${fit.length} kernels with ${offered.join(" ")}` });
  },
};

export async function answer(text, emit) {
  const request = JSON.parse(text);
  if (request.request === "probe") return probe(request);
  const { [request.cell.case]: broken } = cases;
  return broken ? broken(request, emit) : run({ status: "pass" });
}
