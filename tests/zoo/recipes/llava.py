"""Decoders that read images: each family of text, either set of names, features of several layers."""

import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration

from zoo import case, ids

IMAGE = 90


def vision(**fields):
    defaults = dict(
        model_type="clip_vision_model", hidden_size=24, intermediate_size=40, num_hidden_layers=3,
        num_attention_heads=2, image_size=24, patch_size=8,
    )
    return defaults | fields


def text(family, **fields):
    defaults = dict(
        model_type=family, vocab_size=96, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )
    return defaults | fields


def config(text, vision=vision(), **fields):
    # Greedy decoding asks the whole model for the token that ends a text.
    return LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=IMAGE, eos_token_id=2, **fields
    )


def prompt(seed, *pieces):
    """Token ids: words for a positive number, tokens of an image for a negative one."""
    words = [
        ids(seed + i, IMAGE, n) if n > 0 else torch.full((-n,), IMAGE) for i, n in enumerate(pieces)
    ]
    return torch.cat(words).view(1, -1)


def pixels(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def current_names(tensors):
    """The names that the class itself uses, which files have had since transformers 4.52."""

    def rename(name):
        if name.startswith("language_model.lm_head"):
            return name.removeprefix("language_model.")
        if name.startswith("language_model.model."):
            return name.replace("language_model.model.", "model.language_model.", 1)
        return "model." + name

    return {rename(name): tensor for name, tensor in tensors.items()}


def published_names(tensors):
    """The names of llava-1.5: the tower was nested once more."""
    return {n.replace("vision_tower.", "vision_tower.vision_model."): t for n, t in tensors.items()}


def make():
    case(
        "llava/llava-llama",
        LlavaForConditionalGeneration,
        config(text("llama")),
        {"input_ids": prompt(81, 4, -9, 6), "pixel_values": pixels(82, 1, 3, 24, 24)},
        new_tokens=16,
        edit_weights=published_names,
    )
    case(
        "llava/llava-two-images",
        LlavaForConditionalGeneration,
        # Class tokens are kept, so that an image has 10 features of three layers each.
        config(
            text("mistral", sliding_window=12),
            vision_feature_layer=[-2, 1, -1], vision_feature_select_strategy="full",
            multimodal_projector_bias=False, projector_hidden_act="gelu_new",
        ),
        {"input_ids": prompt(83, 3, -10, 2, -10, 5), "pixel_values": pixels(84, 2, 3, 24, 24)},
        new_tokens=12,
        edit_weights=current_names,
    )
    case(
        "llava/llava-qwen2-batch",
        LlavaForConditionalGeneration,
        config(
            text("qwen2", tie_word_embeddings=True), vision(hidden_act="gelu", image_size=16),
            vision_feature_layer=-1,
        ),
        {
            # The first text has two images, the second one.
            "input_ids": torch.cat([prompt(85, 5, -4, 1, -4, 1), prompt(86, 2, -4, 9)]),
            "pixel_values": pixels(87, 3, 3, 16, 16),
            # A hole in the words of the second text.
            "attention_mask": torch.tensor([[1] * 15, [1] * 7 + [0] * 3 + [1] * 5]),
        },
    )
