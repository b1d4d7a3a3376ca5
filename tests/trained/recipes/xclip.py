"""What a shape does in a clip of four frames: it moves left, right, up or down, grows or shrinks,
and is one of three shapes, so 18 captions compete. Three minutes."""

import torch
from shapes import ground, masks, painted, uniform
from trained import case, chosen, fit, fixed, on_device
from transformers import XCLIPConfig, XCLIPModel

SIDE, NOISE, FRAMES, KINDS = 24, 0.08, 4, 3
# Steps to the right and down, and growth, from one frame to the next.
MOVES = [(-3, 0, 0), (3, 0, 0), (0, -3, 0), (0, 3, 0), (0, 0, 1.5), (0, 0, -1.5)]
# A square, a cross and a bar.
FORMS = [1, 3, 5]
START, FIRST = 1, 4
END = FIRST + KINDS + len(MOVES)


def captions():
    """All of them: a start, a shape, what it does, the end."""
    pairs = [(s, m) for s in range(KINDS) for m in range(len(MOVES))]
    return torch.tensor([[START, FIRST + s, FIRST + KINDS + m, END] for s, m in pairs])


def drawn(generator, count):
    which = torch.randint(KINDS * len(MOVES), (count,), generator=generator)
    form, move = torch.tensor(FORMS)[which // len(MOVES)], torch.tensor(MOVES)[which % len(MOVES)]
    x, y = (uniform(generator, 10, SIDE - 10, count) for _ in range(2))
    radius, turn = uniform(generator, 5.5, 7, count), uniform(generator, -0.5, 0.5, count)
    light = uniform(generator, 0.2, 0.9, count, 1)
    image = ground(generator, count, 1, SIDE, 0)
    frames = []
    for frame in range(FRAMES):
        far = frame - (FRAMES - 1) / 2
        at = [it + far * move[:, i] for i, it in enumerate((x, y, radius))]
        shown = painted(image, masks(form, *at, turn, SIDE), light)
        frames.append(shown + NOISE * torch.randn(shown.shape, generator=generator))
    return fixed(torch.stack(frames, 1)), which


def loss(model, generator):
    pixels, labels = drawn(generator, 24)
    inputs = on_device({"pixel_values": pixels, "input_ids": captions()})
    logits = model(**inputs).logits_per_video
    return torch.nn.functional.cross_entropy(logits, labels.to(logits.device))


def make():
    torch.manual_seed(1)
    tower = dict(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
    )
    model = XCLIPModel(
        XCLIPConfig(
            text_config=tower | dict(
                num_hidden_layers=1, vocab_size=END + 1, max_position_embeddings=8,
                bos_token_id=START, eos_token_id=END, pad_token_id=0,
            ),
            vision_config=tower | dict(
                image_size=SIDE, patch_size=8, num_channels=1, num_frames=FRAMES,
                mit_hidden_size=64, mit_intermediate_size=128, mit_num_hidden_layers=1,
                mit_num_attention_heads=4,
                drop_path_rate=0.0,
            ),
            projection_dim=64, prompt_layers=1, prompt_num_attention_heads=4,
            prompt_attention_dropout=0.0,
        )
    )
    fit(model, loss, steps=3000, rate=2e-3)
    pixels, labels = drawn(torch.Generator().manual_seed(2), 100)
    samples = {"pixel_values": pixels, "input_ids": captions(), "labels": labels}
    inputs = {
        "pixel_values": drawn(torch.Generator().manual_seed(3), 8)[0], "input_ids": captions(),
    }
    case("xclip/xclip-moves", model, inputs, samples, chosen("logits_per_video"))
