"""Whisper from CTranslate2's model.bin into transformers, without the converter under test."""

import json
import struct

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration


def variables(path):
    """Every variable of a model.bin as a tensor of its own type."""
    data, at = path.read_bytes(), 0

    def take(form):
        nonlocal at
        (value,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        length = take("H")
        at += length
        return data[at - length : at - 1].decode()

    types = [torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16]
    take("I"), text(), take("I")
    found = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype, length = types[take("B")], take("I")
        found[name] = torch.frombuffer(bytearray(data[at : at + length]), dtype=dtype).view(shape)
        at += length
    return found


def load_whisper(folder):
    """WhisperForConditionalGeneration in f32, set to generate as the published tiny.en does."""
    old = variables(folder / "model.bin")
    stored = json.loads((folder / "config.json").read_text())
    config = WhisperConfig(
        vocab_size=51864, d_model=384, encoder_layers=4, decoder_layers=4,
        encoder_attention_heads=6, decoder_attention_heads=6, encoder_ffn_dim=1536,
        decoder_ffn_dim=1536, decoder_start_token_id=50257, bos_token_id=50256,
        eos_token_id=50256, pad_token_id=50256,
    )
    new = {}

    def linear(source, *targets):
        for kind in ("weight", "bias"):
            for target, part in zip(targets, old[f"{source}/{kind}"].chunk(len(targets))):
                if not (kind == "bias" and target.endswith("k_proj")):
                    new[f"{target}.{kind}"] = part

    def norm(source, target):
        new[f"{target}.weight"] = old[f"{source}/layer_norm/gamma"]
        new[f"{target}.bias"] = old[f"{source}/layer_norm/beta"]

    for convolution in ("conv1", "conv2"):
        linear(f"encoder/{convolution}", f"model.encoder.{convolution}")
    for side in ("encoder", "decoder"):
        positions = old[f"{side}/position_encodings/encodings"]
        new[f"model.{side}.embed_positions.weight"] = positions
        norm(side, f"model.{side}.layer_norm")
        for i in range(4):
            source, target = f"{side}/layer_{i}", f"model.{side}.layers.{i}"
            own = [f"{target}.self_attn.{x}_proj" for x in ("q", "k", "v", "out")]
            linear(f"{source}/self_attention/linear_0", *own[:3])
            linear(f"{source}/self_attention/linear_1", own[3])
            norm(f"{source}/self_attention", f"{target}.self_attn_layer_norm")
            linear(f"{source}/ffn/linear_0", f"{target}.fc1")
            linear(f"{source}/ffn/linear_1", f"{target}.fc2")
            norm(f"{source}/ffn", f"{target}.final_layer_norm")
            if side == "decoder":
                cross = [f"{target}.encoder_attn.{x}_proj" for x in ("q", "k", "v", "out")]
                linear(f"{source}/attention/linear_0", cross[0])
                linear(f"{source}/attention/linear_1", *cross[1:3])
                linear(f"{source}/attention/linear_2", cross[3])
                norm(f"{source}/attention", f"{target}.encoder_attn_layer_norm")
    words = old["decoder/embeddings/weight"]
    new["model.decoder.embed_tokens.weight"] = new["proj_out.weight"] = words

    model = WhisperForConditionalGeneration._from_config(config, attn_implementation="eager")
    model.load_state_dict(new)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=50257, bos_token_id=50257, eos_token_id=50256, pad_token_id=50256,
        suppress_tokens=stored["suppress_ids"],
        begin_suppress_tokens=stored["suppress_ids_begin"],
        no_timestamps_token_id=50362, is_multilingual=False, return_timestamps=False,
        max_length=448,
    )
    return model.eval()
