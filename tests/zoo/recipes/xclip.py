"""Videos and texts: frames that exchange messages, prompts, one and more layers over frames."""

import torch
from transformers import XCLIPConfig, XCLIPModel

from recipes.clip import scaled, text, texts, vision
from zoo import case, pixels


def frames(**fields):
    return vision(
        mit_hidden_size=40, mit_intermediate_size=56, mit_num_hidden_layers=1,
        mit_num_attention_heads=2, num_frames=3,
    ) | fields


def prompted(tensors):
    """Prompts that weigh as much as the texts: else a wrong one would hardly show."""
    alpha = tensors["prompts_generator.alpha"]
    tensors["prompts_generator.alpha"] = 1 + alpha
    return scaled(tensors)


def make():
    case(
        "xclip/xclip-two-videos",
        XCLIPModel,
        XCLIPConfig(
            text_config=text(), vision_config=frames(), projection_dim=40,
            prompt_num_attention_heads=4,
        ),
        texts(61, 95, 8, 5, 6) | {"pixel_values": pixels(61, 2, 3, 3, 24, 24)},
        edit_weights=prompted,
    )
    case(
        "xclip/xclip-deeper",
        XCLIPModel,
        XCLIPConfig(
            text_config=text(hidden_act="gelu", num_hidden_layers=1),
            vision_config=frames(
                hidden_act="gelu", mit_hidden_size=24, mit_num_hidden_layers=2, num_frames=5,
                patch_size=12, layer_norm_eps=1e-6,
            ),
            projection_dim=24, prompt_layers=1, prompt_hidden_act="gelu",
            prompt_num_attention_heads=2,
        ),
        texts(62, 95, 4, 9) | {"pixel_values": pixels(62, 1, 5, 3, 24, 24)},
        edit_weights=prompted,
    )
