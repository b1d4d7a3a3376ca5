"""Decoders: head sharing, tied and untied heads, RoPE variants, padding, biases, an early end, weights
as GPTQ stores them."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from quantised import Quantised, gptq
from zoo import case, ids


def make():
    def config(**fields):
        defaults = dict(
            vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, intermediate_size=96, max_position_embeddings=128,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )
        return LlamaConfig(**(defaults | fields))

    def published_rope(config):
        # Llama 3's own config.json has these two fields, which transformers 5 merged into one.
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope

    case(
        "llama/llama-gqa",
        LlamaForCausalLM,
        config(
            num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
            intermediate_size=72,
        ),
        {"input_ids": ids(11, 96, 1, 12)},
        new_tokens=16,
    )
    case(
        "llama/llama-tied-mha",
        LlamaForCausalLM,
        config(
            hidden_size=64, num_attention_heads=4, num_key_value_heads=4, intermediate_size=72,
            tie_word_embeddings=True, rms_norm_eps=1e-5,
        ),
        {"input_ids": ids(12, 96, 1, 5)},
        new_tokens=16,
        early_end=True,
    )
    case(
        "llama/llama-rope-linear",
        LlamaForCausalLM,
        config(
            num_attention_heads=4, num_key_value_heads=2,
            rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
        ),
        {"input_ids": ids(13, 96, 1, 20)},
        new_tokens=16,
    )
    case(
        "llama/llama-rope-llama3",
        LlamaForCausalLM,
        config(
            hidden_size=64, intermediate_size=72,
            # Wavelengths of a 32-wide head start at 2π, 11 and 20: with 32 positions one is kept,
            # two are blended and the rest are stretched.
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        ),
        {"input_ids": ids(14, 96, 1, 40)},
        new_tokens=16,
        edit_config=published_rope,
    )
    case(
        "llama/llama-padded",
        LlamaForCausalLM,
        config(
            hidden_size=48, num_attention_heads=4, num_key_value_heads=2, intermediate_size=100,
        ),
        # A decoder never looks right, so padding there touches padding alone, and padding on the
        # left leaves rows that see no token at all. A hole in the middle is where a mask counts.
        {
            "input_ids": ids(15, 96, 2, 14),
            "attention_mask": torch.tensor([[1] * 14, [1] * 2 + [0] * 4 + [1] * 5 + [0] * 3]),
        },
    )
    case(
        "llama/llama-bias",
        LlamaForCausalLM,
        config(attention_bias=True, mlp_bias=True, num_attention_heads=2, hidden_act="silu"),
        {"input_ids": ids(16, 96, 1, 7)},
        new_tokens=16,
    )
    case(
        "llama/llama-quantised-gptq",
        LlamaForCausalLM,
        config(hidden_size=64, num_attention_heads=4, num_key_value_heads=2),
        {"input_ids": ids(17, 96, 1, 9)},
        new_tokens=16,
        # Early writers gave every layer a bias, whatever the configuration says.
        quantised=Quantised(
            gptq, 32, {"quant_method": "gptq", "sym": False, "desc_act": False}, biases=True
        ),
    )
