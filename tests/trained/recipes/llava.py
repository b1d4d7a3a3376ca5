"""Questions about a picture with two shapes, one to the left and one to the right: which colour or
which shape is on which side. Two minutes."""

import torch
from shapes import COLOURS, SHAPES, colours, ground, masks, painted, uniform
from trained import case, fit, fixed, on_device, written
from transformers import LlavaConfig, LlavaForConditionalGeneration

SIDE, PATCH, NOISE, KINDS = 32, 4, 0.1, 5
WORDS = ["<pad>", "<start>", "<end>", "<image>", "colour", "shape", "left", "right", "?"]
IDS = {word: i for i, word in enumerate([*WORDS, *COLOURS, *SHAPES[:KINDS]])}
TOKENS = (SIDE // PATCH) ** 2


def several(generator, count, height, width):
    """Pictures, and the colour and the shape of what is left and right in them `[count, 2]`."""
    form = torch.randint(KINDS, (count, 2), generator=generator)
    colour = torch.randint(len(COLOURS), (count, 2), generator=generator)
    half = min(height, width // 2)
    image = ground(generator, count, 3, max(height, width), NOISE)
    for side in range(2):
        radius = uniform(generator, 0.36 * half, 0.48 * half, count)
        x = width * (0.25 + 0.5 * side) + uniform(generator, -1, 1, count)
        y = radius + uniform(generator, 0, 1, count) * (height - 2 * radius)
        turn = uniform(generator, -0.5, 0.5, count)
        mask = masks(form[:, side], x, y, radius, turn, max(height, width))
        image = painted(image, mask, colours(generator, colour[:, side]))
    return fixed(image[:, :, :height, :width]), colour, form


def asked(generator, colour, form, tokens):
    """A question about each picture, for which so many tokens stand, and its answer."""
    count = len(colour)
    about, side = torch.randint(2, (2, count), generator=generator)
    row = torch.arange(count)
    answer = torch.where(
        about == 0, IDS["red"] + colour[row, side], IDS[SHAPES[0]] + form[row, side]
    )

    def all_(word):
        return torch.full((count, 1), IDS[word])

    image = torch.full((count, tokens), IDS["<image>"])
    question = [IDS["colour"] + about[:, None], IDS["left"] + side[:, None], all_("?")]
    prompt = torch.cat([all_("<start>"), image, *question], 1)
    return prompt, torch.cat([answer[:, None], all_("<end>")], 1)


def expected(model, inputs, prompt, answer):
    """The loss of the answer alone."""
    ids = torch.cat([prompt, answer[:, :1]], 1)
    logits = model(**on_device(inputs | {"input_ids": ids})).logits[:, -2:]
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), answer.to(logits.device))


def tower(**fields):
    return dict(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        initializer_range=0.08,
    ) | fields


def vision(**fields):
    return tower(model_type="clip_vision_model", patch_size=PATCH, num_hidden_layers=3, **fields)


def text():
    return tower(
        model_type="llama", vocab_size=len(IDS), num_key_value_heads=2, max_position_embeddings=128,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )


def drawn(generator, count):
    pixels, colour, form = several(generator, count, SIDE, SIDE)
    prompt, answer = asked(generator, colour, form, TOKENS)
    return {"pixel_values": pixels}, prompt, answer


def make():
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=text(), vision_config=vision(image_size=SIDE), eos_token_id=2,
            image_token_index=IDS["<image>"],
            # The last layer, so that none is trained for nothing.
            vision_feature_layer=-1,
        )
    )
    fit(model, lambda model, g: expected(model, *drawn(g, 32)), steps=8000, rate=2e-3)
    pixels, prompt, answer = drawn(torch.Generator().manual_seed(2), 200)
    samples = pixels | {"input_ids": prompt, "labels": answer}
    pixels, prompt, _ = drawn(torch.Generator().manual_seed(3), 16)
    inputs = pixels | {"input_ids": prompt}
    case("llava/llava-shapes", model, inputs, samples, written)
