"""Writes one test vector per block type (blocks, then the f32 that the gguf package makes of them)
and a tiny llama and qwen2 as GGUF and as safetensors.

    pip install gguf==0.19.0 safetensors==0.8.0 && python make.py

Scales are finite f16 of many sizes (zero, negative and denormal ones included), all other bytes are
random, so that every bit of the layout counts.
"""
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
# They came later: what was drawn before stays as it is.
LATER = {"IQ4_NL": [0], "IQ4_XS": [0]}

rng = np.random.default_rng(7)


def vector(name, places):
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


def rope_factors(size, theta, factor):
    """What Llama 3's scaling divides each frequency by, as transformers computes it."""
    frequency = theta ** -(np.arange(0, size, 2) / size)
    wavelength = 2 * np.pi / frequency
    low, high, original = 1.0, 4.0, 8192
    smooth = (original / wavelength - low) / (high - low)
    scaled = np.where(wavelength > original / low, frequency / factor, frequency)
    between = (wavelength <= original / low) & (wavelength >= original / high)
    scaled = np.where(between, (1 - smooth) * frequency / factor + smooth * frequency, scaled)
    return (frequency / scaled).astype(np.float32)


def tiny(arch):
    """One layer as llama.cpp's converter writes it, and what Hugging Face would hold."""
    from gguf import GGUFWriter, quantize
    from safetensors.numpy import save_file

    llama = arch == "llama"
    hidden, heads, kv_heads, feed, vocab = 32, 2, 1, 64 if llama else 32, 16
    size = hidden // heads
    writer = GGUFWriter(Path(__file__).with_name(f"{arch}.gguf"), arch)
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(feed)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_vocab_size(vocab)
    block, layer = "blk.0", "model.layers.0"
    tensors = [  # (GGUF's name, Hugging Face's name, shape, type, heads whose rows are permuted)
        ("token_embd.weight", "model.embed_tokens.weight", (vocab, hidden), "F16", 0),
        (f"{block}.attn_norm.weight", f"{layer}.input_layernorm.weight", (hidden,), "F32", 0),
        (f"{block}.attn_q.weight", f"{layer}.self_attn.q_proj.weight", (hidden, hidden), "Q8_0", heads),
        (f"{block}.attn_k.weight", f"{layer}.self_attn.k_proj.weight", (size, hidden), "F32", kv_heads),
        (f"{block}.attn_v.weight", f"{layer}.self_attn.v_proj.weight", (size, hidden), "Q4_1", 0),
        (f"{block}.attn_output.weight", f"{layer}.self_attn.o_proj.weight", (hidden, hidden), "Q4_0", 0),
        (f"{block}.ffn_norm.weight", f"{layer}.post_attention_layernorm.weight", (hidden,), "F32", 0),
        (f"{block}.ffn_gate.weight", f"{layer}.mlp.gate_proj.weight", (feed, hidden), "Q5_0", 0),
        (f"{block}.ffn_up.weight", f"{layer}.mlp.up_proj.weight", (feed, hidden), "Q5_1", 0),
        (f"{block}.ffn_down.weight", f"{layer}.mlp.down_proj.weight", (hidden, feed), "BF16", 0),
        ("output_norm.weight", "model.norm.weight", (hidden,), "F32", 0),
    ]
    if llama:
        writer.add_tensor("rope_freqs.weight", rope_factors(size, 500000.0, 32.0))
    else:
        tensors += [
            (f"{block}.attn_q.bias", f"{layer}.self_attn.q_proj.bias", (hidden,), "F32", 0),
            (f"{block}.attn_k.bias", f"{layer}.self_attn.k_proj.bias", (size,), "F32", 0),
            (f"{block}.attn_v.bias", f"{layer}.self_attn.v_proj.bias", (size,), "F32", 0),
            ("output.weight", "lm_head.weight", (vocab, hidden), "Q8_0", 0),
        ]
    expected = {}
    for name, hf, shape, kind, permuted in tensors:
        values = rng.normal(size=shape).astype(np.float32)
        order = np.arange(shape[0])
        if permuted and llama:  # row `half * n / 2 + i` of a head is stored as its row `2 * i + half`
            n = shape[0] // permuted
            order = np.array([head * n + half * n // 2 + i for head in range(permuted)
                              for i in range(n // 2) for half in range(2)])
        kind = GGMLQuantizationType[kind]
        stored = quantize(values[order], kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
        back = np.empty_like(values)
        back[order] = dequantize(stored, kind).reshape(shape)
        expected[hf] = back
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, Path(__file__).with_name(f"{arch}.safetensors"))


for name, places in SCALES.items():
    vector(name, places)
tiny("llama")
tiny("qwen2")
for name, places in LATER.items():
    vector(name, places)
