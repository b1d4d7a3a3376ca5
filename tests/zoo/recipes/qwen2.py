"""Decoders with biases on queries, keys and values: windows by number and by name, RoPE variants,
weights as AWQ stores them."""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from quantised import Quantised, awq
from zoo import case, ids


def config(**fields):
    defaults = dict(
        vocab_size=96, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=72, max_position_embeddings=128,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )
    return Qwen2Config(**(defaults | fields))


def make():
    case(
        "qwen2/qwen2-tied",
        Qwen2ForCausalLM,
        config(tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
        {"input_ids": ids(21, 96, 1, 11)},
        new_tokens=16,
    )
    case(
        "qwen2/qwen2-window",
        Qwen2ForCausalLM,
        # The second and third layer look back 5 tokens, far less than the prompt is long.
        config(
            num_hidden_layers=3, use_sliding_window=True, sliding_window=5, max_window_layers=1,
        ),
        {"input_ids": ids(22, 96, 1, 14)},
        new_tokens=16,
        edit_config=lambda config: config.pop("layer_types"),
    )
    case(
        "qwen2/qwen2-layer-types",
        Qwen2ForCausalLM,
        config(
            num_hidden_layers=3, use_sliding_window=True, sliding_window=4, hidden_size=32,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        {
            "input_ids": ids(23, 96, 2, 12),
            "attention_mask": torch.tensor([[1] * 12, [1] * 3 + [0] * 2 + [1] * 7]),
        },
    )
    case(
        "qwen2/qwen2-yarn",
        Qwen2ForCausalLM,
        config(
            num_attention_heads=2, num_key_value_heads=2, hidden_size=64,
            rope_parameters={
                "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        ),
        {"input_ids": ids(24, 96, 1, 40)},
        new_tokens=16,
    )
    case(
        "qwen2/qwen2-quantised-awq",
        Qwen2ForCausalLM,
        config(hidden_size=64, intermediate_size=128),
        {"input_ids": ids(27, 96, 1, 9)},
        new_tokens=16,
        quantised=Quantised(
            awq, 64, {"quant_method": "awq", "zero_point": True, "version": "gemm"}
        ),
    )
