"""Texts and images: both activations, both ways to find the end of a text, towers on their own."""

import torch
from transformers import (
    CLIPConfig,
    CLIPForImageClassification,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from zoo import case, ids, pixels


def text(**fields):
    return dict(
        vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=72, max_position_embeddings=20, eos_token_id=95,
    ) | fields


def vision(**fields):
    return dict(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=72,
        image_size=24, patch_size=8,
    ) | fields


def texts(seed, end, *lengths):
    """Texts that end early and go on behind their end, and a mask with a hole: nothing behind its
    end changes a text that looks back, so only a hole shows that masks count."""
    values = ids(seed, end, len(lengths), max(lengths))
    kept = torch.ones_like(values)
    for row, length in enumerate(lengths):
        values[row, length - 1 :] = end
        kept[row, 1:3] = 0
    return {"input_ids": values, "attention_mask": kept}


def scaled(tensors):
    """The scale that training ends with: logits differ."""
    tensors["logit_scale"] = torch.tensor(2.7)
    return tensors


def make():
    case(
        "clip/clip-quick-gelu",
        CLIPModel,
        CLIPConfig(text_config=text(), vision_config=vision(), projection_dim=40),
        texts(51, 95, 9, 6, 4) | {"pixel_values": pixels(51, 2, 3, 24, 24)},
        edit_weights=scaled,
    )

    def published(config):
        # The first files say both, and the first to be read is the second to be written.
        config["text_config_dict"] = text(eos_token_id=2, hidden_act="gelu")
        config["text_config"]["num_attention_heads"] = 1

    case(
        "clip/clip-gelu-legacy-end",
        CLIPModel,
        CLIPConfig(
            text_config=text(eos_token_id=2, hidden_act="gelu"),
            vision_config=vision(hidden_act="gelu", layer_norm_eps=1e-6, num_attention_heads=2),
            projection_dim=24,
        ),
        texts(52, 90, 7, 10) | {"pixel_values": pixels(52, 3, 3, 24, 24)},
        edit_config=published,
        edit_weights=scaled,
    )
    case(
        "clip/clip-text-projected",
        CLIPTextModelWithProjection,
        CLIPTextConfig(**text(projection_dim=28)),
        texts(53, 95, 8, 5) | {},
    )
    case(
        "clip/clip-vision-resized",
        CLIPVisionModel,
        CLIPVisionConfig(**vision()),
        {"pixel_values": pixels(54, 1, 3, 16, 32)},
        options={"interpolate_pos_encoding": True},
    )
    case(
        "clip/clip-labels",
        CLIPForImageClassification,
        CLIPConfig(text_config=text(), vision_config=vision(hidden_act="gelu"), num_labels=6),
        {"pixel_values": pixels(55, 2, 3, 24, 24)},
    )
