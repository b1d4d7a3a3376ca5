// Stands before the worker of the real page: no variant of `norm` compiles, and those of `softmax` by
// subgroups give numbers that are too large.

const { createShaderModule } = GPUDevice.prototype;
GPUDevice.prototype.createShaderModule = function ({ code, ...rest }) {
  if (rest.label === "norm") code = code.replace("fn compute_row(", "fn compute_nothing(");
  if (rest.label === "softmax" && code.includes("enable subgroups;")) {
    code = code.replace("1.0 / reduce_sum", "1.5 / reduce_sum");
  }
  return createShaderModule.call(this, { code, ...rest });
};
