"""One of eight shapes in a noisy grey picture, turned a little, of any size, anywhere.
A minute."""

import torch
from shapes import SHAPES, ground, masks, painted, uniform
from trained import case, chosen, fit, fixed, on_device
from transformers import ViTConfig, ViTForImageClassification

SIDE, NOISE = 24, 0.1


def drawn(generator, count):
    labels = torch.randint(len(SHAPES), (count,), generator=generator)
    radius = uniform(generator, 5, 9, count)
    x, y = (radius + uniform(generator, 0, 1, count) * (SIDE - 2 * radius) for _ in range(2))
    mask = masks(labels, x, y, radius, uniform(generator, -0.5, 0.5, count), SIDE)
    image = ground(generator, count, 1, SIDE, NOISE)
    image = painted(image, mask, uniform(generator, 0.1, 0.8, count, 1))
    return {"pixel_values": fixed(image), "labels": labels}


def make():
    torch.manual_seed(1)
    model = ViTForImageClassification(
        ViTConfig(
            hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128,
            image_size=SIDE, patch_size=6, num_channels=1, num_labels=len(SHAPES),
            initializer_range=0.08,
            id2label=dict(enumerate(SHAPES)), label2id={n: i for i, n in enumerate(SHAPES)},
        )
    )
    fit(model, lambda model, g: model(**on_device(drawn(g, 48))).loss, steps=2000, rate=2e-3)
    samples = drawn(torch.Generator().manual_seed(2), 300)
    inputs = {"pixel_values": drawn(torch.Generator().manual_seed(3), 32)["pixel_values"]}
    case("vit/vit-shapes", model, inputs, samples, chosen("logits"))
