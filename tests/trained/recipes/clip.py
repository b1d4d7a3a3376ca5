"""Shapes with captions: which of 36, a colour and a shape, belongs to a picture. A minute."""

import torch
from shapes import COLOURS, colours, ground, masks, painted, uniform
from trained import case, chosen, fit, fixed, on_device
from transformers import CLIPConfig, CLIPModel

SIDE, NOISE, KINDS = 24, 0.1, 6
START, FIRST = 1, 4
END = FIRST + len(COLOURS) + KINDS


def captions():
    """All of them: a start, a colour, a shape, the end."""
    pairs = [(c, s) for c in range(len(COLOURS)) for s in range(KINDS)]
    return torch.tensor([[START, FIRST + c, FIRST + len(COLOURS) + s, END] for c, s in pairs])


def drawn(generator, count):
    which = torch.randint(len(COLOURS) * KINDS, (count,), generator=generator)
    radius = uniform(generator, 5, 9, count)
    x, y = (radius + uniform(generator, 0, 1, count) * (SIDE - 2 * radius) for _ in range(2))
    turn = uniform(generator, -0.5, 0.5, count)
    mask = masks(which % KINDS, x, y, radius, turn, SIDE)
    image = ground(generator, count, 3, SIDE, NOISE)
    image = painted(image, mask, colours(generator, which // KINDS))
    return fixed(image), which


def loss(model, generator):
    pixels, labels = drawn(generator, 48)
    inputs = on_device({"pixel_values": pixels, "input_ids": captions()})
    logits = model(**inputs).logits_per_image
    return torch.nn.functional.cross_entropy(logits, labels.to(logits.device))


def make():
    torch.manual_seed(1)
    tower = dict(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128,
    )
    model = CLIPModel(
        CLIPConfig(
            text_config=tower | dict(
                num_hidden_layers=1, vocab_size=END + 1, max_position_embeddings=8,
                bos_token_id=START, eos_token_id=END, pad_token_id=0,
            ),
            vision_config=tower | dict(image_size=SIDE, patch_size=6),
            projection_dim=64,
        )
    )
    fit(model, loss, steps=2000, rate=2e-3)
    pixels, labels = drawn(torch.Generator().manual_seed(2), 200)
    samples = {"pixel_values": pixels, "input_ids": captions(), "labels": labels}
    inputs = {
        "pixel_values": drawn(torch.Generator().manual_seed(3), 32)[0], "input_ids": captions(),
    }
    case("clip/clip-shapes", model, inputs, samples, chosen("logits_per_image"))
