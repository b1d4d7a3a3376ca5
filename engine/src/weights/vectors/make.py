"""Writes one test vector per block type: blocks, then the f32 that the gguf package makes of them.

    pip install gguf==0.19.0 && python make.py

Scales are finite f16 of many sizes (zero, negative and denormal ones included), all other bytes are
random, so that every bit of the layout counts.
"""
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}

rng = np.random.default_rng(7)
for name, places in SCALES.items():
    kind = GGMLQuantizationType[name]
    length, size = GGML_QUANT_SIZES[kind]
    count = 768 // length
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for place in places:
        scale = (rng.normal(size=count) * 10.0 ** rng.integers(-7, 3, count)).astype(np.float16)
        scale[0] = 0.0123
        blocks[:, place:place + 2] = scale.view(np.uint8).reshape(count, 2)
    values = dequantize(blocks, kind).astype("<f4")
    assert np.isfinite(values).all()
    Path(__file__).with_name(f"{name}.bin").write_bytes(blocks.tobytes() + values.tobytes())
