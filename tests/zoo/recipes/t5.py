"""Encoder and decoder of text: version 1.0 tied and scaled, version 1.1 gated and untied."""

import torch
from transformers import T5Config, T5ForConditionalGeneration

from zoo import case, ids, mask


def config(**fields):
    defaults = dict(
        vocab_size=96, d_model=48, d_kv=12, d_ff=72, num_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
        # Few buckets and a short reach, so that distances here fall into all of them.
        relative_attention_num_buckets=8, relative_attention_max_distance=20,
    )
    return T5Config(**(defaults | fields))


def start(seed, *shape):
    """Decoder tokens behind the start token."""
    tokens = ids(seed, 96, *shape)
    tokens[:, 0] = 0
    return tokens


def untied(tensors):
    """Gives the head weights of its own; transformers ties what a file does not tell apart."""
    generator = torch.Generator().manual_seed(37)
    head = 0.1 * torch.randn(tensors["shared.weight"].shape, generator=generator)
    return tensors | {"lm_head.weight": head}


def make():
    case(
        "t5/t5-relu-tied",
        T5ForConditionalGeneration,
        config(),
        {"input_ids": ids(31, 96, 1, 25), "decoder_input_ids": start(32, 1, 24)},
        new_tokens=16,
    )
    case(
        "t5/t5-gated-untied",
        T5ForConditionalGeneration,
        # More decoder than encoder layers, heads wider together than the model.
        config(
            feed_forward_proj="gated-gelu", num_layers=1, num_decoder_layers=3, d_model=40,
            num_heads=3, d_kv=20,
            tie_word_embeddings=False,
        ),
        {
            "input_ids": ids(33, 96, 2, 13),
            "attention_mask": mask(13, 13, 8),
            "decoder_input_ids": start(34, 2, 6),
        },
        new_tokens=16,
        edit_weights=untied,
    )
    case(
        "t5/t5-padded",
        T5ForConditionalGeneration,
        config(
            d_model=32, num_heads=2, relative_attention_num_buckets=32,
            relative_attention_max_distance=128,
        ),
        {
            "input_ids": ids(35, 96, 1, 40),
            "attention_mask": mask(40, 33),
            "decoder_input_ids": start(36, 1, 5),
        },
        new_tokens=16,
    )
