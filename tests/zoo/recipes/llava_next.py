"""Images in tiles: wide and tall ones, one that needs no padding, several in a batch, flat tiles."""

import torch
from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
    unpad_image,
)

from recipes.llava import IMAGE, current_names, pixels, prompt, published_names, text, vision
from zoo import case

SIDE, PATCH = 16, 4
PINPOINTS = [[16, 32], [32, 16], [32, 32], [48, 16], [16, 48]]


def config(text, **fields):
    defaults = dict(image_grid_pinpoints=PINPOINTS, image_token_index=IMAGE, eos_token_id=2)
    return LlavaNextConfig(
        text_config=text, vision_config=vision(image_size=SIDE, patch_size=PATCH),
        **(defaults | fields),
    )


def features(size):
    """How many tokens stand for an image of a size."""
    tiles = get_anyres_image_grid_shape(size, PINPOINTS, SIDE)
    grid = torch.zeros(1, *(n * SIDE // PATCH for n in tiles))
    height, width = unpad_image(grid, size).shape[1:]
    return (SIDE // PATCH) ** 2 + height * (width + 1)


def tiles(seed, *sizes, flat=False):
    """Tiles of images, those of fewer tiles filled up with numbers that nobody must read."""
    counts = [image_size_to_num_patches(size, PINPOINTS, SIDE) for size in sizes]
    if flat:
        return pixels(seed, sum(counts), 3, SIDE, SIDE)
    return pixels(seed, len(sizes), max(counts), 3, SIDE, SIDE)


def make():
    wide = (20, 61)
    case(
        "llava_next/next-wide",
        LlavaNextForConditionalGeneration,
        config(text("mistral")),
        {
            "input_ids": prompt(91, 4, -features(wide), 6),
            "pixel_values": tiles(92, wide),
            "image_sizes": torch.tensor([wide]),
        },
        new_tokens=12,
        edit_weights=published_names,
    )
    tall, square = (75, 30), (64, 64)
    words = features(tall) + features(square) - features(wide)
    case(
        "llava_next/next-batch",
        LlavaNextForConditionalGeneration,
        config(
            text("llama", max_position_embeddings=256), vision_feature_layer=[-2, 2],
            projector_hidden_act="relu",
        ),
        {
            # The first text has two images, the second one and as many words more.
            "input_ids": torch.cat([
                prompt(93, 3, -features(tall), 2, -features(square), 4),
                prompt(94, 5, -features(wide), 4 + words),
            ]),
            "pixel_values": tiles(95, tall, square, wide),
            "image_sizes": torch.tensor([tall, square, wide]),
        },
        edit_weights=current_names,
    )
    flat = (33, 16)
    case(
        "llava_next/next-flat",
        LlavaNextForConditionalGeneration,
        config(text("qwen2"), multimodal_projector_bias=False, vision_feature_layer=-1),
        {
            "input_ids": prompt(96, 2, -features(flat), 7),
            "pixel_values": tiles(97, flat, flat=True),
            "image_sizes": torch.tensor([flat]),
        },
        edit_config=lambda config: config["text_config"].pop("layer_types", None),
    )
