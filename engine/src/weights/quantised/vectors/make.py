"""Writes a layer in each form of GPTQ, AWQ and HQQ, packed by AutoGPTQ, AutoAWQ and HQQ, and beside its parts the
weight `[N, K]` that these packages themselves make of them, with their scales in f32.

    pip install torch transformers accelerate safetensors==0.8.0
    pip install --no-deps auto-gptq==0.7.1 autoawq==0.2.9 hqq==0.2.8.post1 && python make.py
"""
import functools
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

N = 32


@functools.cache
def load(package, *parts):
    """A module without what its packages import for models and graphics cards."""
    spec = importlib.util.find_spec(package)
    folder, name = Path(next(iter(spec.submodule_search_locations))), package
    for part in [None, *parts[:-1]]:
        if part:
            folder, name = folder / part, f"{name}.{part}"
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module
    return importlib.import_module(f"{name}.{parts[-1]}")


def layer(rng, bits, group, columns, symmetric, first=1):
    """A linear layer with the scales and zeros [N, G] by which it is quantised."""
    groups = -(-columns // group)
    scales = torch.from_numpy((rng.normal(size=(N, groups)) * 0.01).astype(np.float16)).float()
    zeros = rng.integers(first, 2**bits, (N, groups))
    zeros = np.full_like(zeros, 2 ** (bits - 1)) if symmetric else zeros
    zeros = torch.from_numpy(zeros)
    codes = torch.from_numpy(rng.integers(0, 2**bits, (N, columns)))
    at = torch.arange(columns) // group
    linear = torch.nn.Linear(columns, N, bias=False)
    linear.weight.data = (codes - zeros[:, at]) * scales[:, at]
    return linear, scales, zeros


def gptq(rng, name, bits, group, columns, symmetric=False, version=1, shuffled=False):
    module = load("auto_gptq", "nn_modules", "qlinear", "qlinear_cuda_old")
    size = columns if group == -1 else group
    # A zero of 0 does not survive the first version's way to pack it.
    linear, scales, zeros = layer(rng, bits, size, columns, symmetric, 1 if version == 1 else 0)
    made = module.QuantLinear(bits, group, columns, N, False, weight_dtype=torch.float32)
    made.pack(linear, scales, zeros.clone(), None)
    weight = made(torch.eye(columns)).T
    parts = {"qweight": made.qweight, "qzeros": made.qzeros, "scales": made.scales.half()}
    if version == 2:
        # What is read is one more than what is stored; here what is stored is what is read.
        made.pack(linear, scales, zeros + 1, None)
        parts["qzeros"] = made.qzeros
        weight = linear.weight.data
    groups = made.g_idx
    if shuffled:
        # Rows of codes and their groups change places, by words, and so do the inputs.
        order = torch.from_numpy(rng.permutation(columns * bits // 32))
        inputs = order.repeat_interleave(32 // bits) * (32 // bits)
        inputs += torch.arange(32 // bits).repeat(len(order))
        parts["qweight"], groups = parts["qweight"][order], groups[inputs].contiguous()
        weight = weight[:, inputs]
    write(name, parts | {"g_idx": groups}, weight)


def awq(rng, name, group, columns):
    gemm = load("awq", "modules", "linear", "gemm")
    linear, scales, zeros = layer(rng, 4, group, columns, False, 0)
    made = gemm.WQLinear_GEMM.from_linear(linear, 4, group, False, scales.T, zeros.T)
    weight = gemm.dequantize_gemm(made.qweight, made.qzeros, made.scales.float(), 4, group).T
    write(name, {"qweight": made.qweight, "qzeros": made.qzeros, "scales": made.scales}, weight)


def hqq(rng, name, bits, group, columns, axis=1):
    quantize = load("hqq", "core", "quantize")
    linear = torch.nn.Linear(columns, N, bias=False)
    linear.weight.data = torch.from_numpy((rng.normal(size=(N, columns)) * 0.05).astype(np.float32))
    config = quantize.BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis)
    made = quantize.HQQLinear(linear, config, compute_dtype=torch.float16, device="cpu")
    meta = {name: part.float() if name in ("scale", "zero") else part
            for name, part in made.meta.items()} | {"compute_dtype": torch.float32}
    write(name, made.state_dict(), quantize.Quantizer.dequantize(made.W_q, meta))


def write(name, parts, weight):
    tensors = {f"x.{part}": tensor.contiguous() for part, tensor in parts.items()}
    path = Path(__file__).with_name(f"{name}.safetensors")
    save_file(tensors | {"wanted": weight.detach().contiguous()}, path)


rng = np.random.default_rng(5)
gptq(rng, "gptq-2", 2, 32, 64)
gptq(rng, "gptq-3", 3, 32, 64)
gptq(rng, "gptq-4", 4, 32, 64)
gptq(rng, "gptq-4-symmetric", 4, 64, 64, symmetric=True)
gptq(rng, "gptq-4-row", 4, -1, 64)
gptq(rng, "gptq-4-v2", 4, 32, 64, version=2)
gptq(rng, "gptq-4-scattered", 4, 32, 64, shuffled=True)
gptq(rng, "gptq-8", 8, 32, 64)
gptq(rng, "gptq-8-symmetric", 8, 32, 64, symmetric=True)
awq(rng, "awq-4", 32, 64)
hqq(rng, "hqq-2", 2, 32, 64)
hqq(rng, "hqq-3", 3, 64, 64)
hqq(rng, "hqq-4", 4, 64, 64)
hqq(rng, "hqq-4-columns", 4, 32, 64, axis=0)
hqq(rng, "hqq-8", 8, 32, 64)
