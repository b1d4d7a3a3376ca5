"""Stores the linear layers of a case as GPTQ and AWQ do, after the published layouts: `qlinear_cuda_old.py`
of AutoGPTQ 0.7 and `gemm.py` of AutoAWQ 0.2."""

import json

import numpy as np
import torch
from safetensors.torch import load_file, save_file

BITS = 4


def stream(integers):
    """Integers [..., n] as words [..., n / 8], the first in the lowest bits."""
    shifts = BITS * np.arange(32 // BITS, dtype=np.uint32)
    eights = integers.astype(np.uint32).reshape(*integers.shape[:-1], -1, 32 // BITS)
    words = np.bitwise_or.reduce(eights << shifts, axis=-1)
    return torch.from_numpy(np.ascontiguousarray(words).view(np.int32))


def gptq(codes, zeros):
    """Codes [N, K] along K, zeros [N, G] along N and less one."""
    return stream(codes).T.contiguous(), stream((zeros.T - 1) % 2**BITS)


def awq(codes, zeros):
    """Both along N, of eight neighbours first those with even numbers."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    turned = [part.T.reshape(part.shape[1], -1, 8)[..., order] for part in (codes, zeros)]
    return tuple(stream(part.reshape(part.shape[0], -1)) for part in turned)


class Quantised:
    """Chooses codes, and stores them by `pack` when what is expected of their values is known."""

    def __init__(self, pack, group, config, biases=False):
        self.pack, self.group, self.biases = pack, group, biases
        self.config = {"bits": BITS, "group_size": group} | config
        self.layers = {}

    def values(self, weights):
        """The weights with those of linear layers as their codes have them."""
        self.layers = {}
        for name in [name for name in weights if name.endswith("proj.weight")]:
            rows, columns = weights[name].shape
            groups = weights[name].numpy().reshape(rows, -1, self.group)
            low, high = groups.min(-1).clip(max=0), groups.max(-1).clip(min=0)
            scales = ((high - low) / (2**BITS - 1)).astype(np.float16)
            steps = scales.astype(np.float32)[..., None]
            zeros = np.rint(-low / steps[..., 0]).clip(1, 2**BITS - 1)
            codes = (np.rint(groups / steps) + zeros[..., None]).clip(0, 2**BITS - 1)
            values = steps * (codes - zeros[..., None]).astype(np.float32)
            self.layers[name] = codes.reshape(rows, columns), zeros, scales
            weights[name] = torch.from_numpy(values.reshape(rows, columns))
        return weights

    def store(self, folder):
        """Puts parts in the place of values, and says so in the configuration."""
        path = folder / "model.safetensors"
        weights = load_file(path)
        for name, (codes, zeros, scales) in self.layers.items():
            layer = name.removesuffix(".weight")
            del weights[name]
            weights[f"{layer}.qweight"], weights[f"{layer}.qzeros"] = self.pack(codes, zeros)
            weights[f"{layer}.scales"] = torch.from_numpy(scales.T.copy())
            if self.pack is gptq:
                columns = torch.arange(codes.shape[1], dtype=torch.int32)
                weights[f"{layer}.g_idx"] = columns // self.group
            if self.biases:
                weights[f"{layer}.bias"] = torch.zeros(codes.shape[0], dtype=torch.float16)
        save_file(weights, path, metadata={"format": "pt"})
        path = folder / "config.json"
        config = json.loads(path.read_text()) | {"quantization_config": self.config}
        path.write_text(json.dumps(config, indent=2) + "\n")
