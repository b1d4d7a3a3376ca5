"""The questions of llava about wide pictures, which are seen as a whole in low resolution and in
two tiles. Four minutes on a GPU."""

import importlib.util
import json
from pathlib import Path

import torch
from trained import TRAINED, case, fit, written
from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

# By its file, as recipes of the zoo have the same names.
spec = importlib.util.spec_from_file_location("trained_llava", Path(__file__).parent / "llava.py")
llava = importlib.util.module_from_spec(spec)
spec.loader.exec_module(llava)

SIDE, PATCH = 16, 4
SIZE = (SIDE, 2 * SIDE)
ROW = SIDE // PATCH
# The whole picture, and rows of both tiles, each with a token for its end.
TOKENS = ROW * ROW + ROW * (2 * ROW + 1)


def drawn(generator, count):
    pixels, colour, form = llava.several(generator, count, *SIZE)
    # As wide as a tile, whatever that does to its shapes.
    whole = (torch.nn.functional.avg_pool2d(pixels, (1, 2)) * 128).round() / 128
    tiles = torch.stack([whole, pixels[..., :SIDE], pixels[..., SIDE:]], 1)
    prompt, answer = llava.asked(generator, colour, form, TOKENS)
    sizes = torch.tensor([SIZE] * count)
    return {"pixel_values": tiles, "image_sizes": sizes}, prompt, answer


def make():
    torch.manual_seed(1)
    model = LlavaNextForConditionalGeneration(
        LlavaNextConfig(
            text_config=llava.text(), image_token_index=llava.IDS["<image>"], eos_token_id=2,
            vision_config=llava.vision(image_size=SIDE) | {"patch_size": PATCH},
            image_grid_pinpoints=[[SIDE, 2 * SIDE]], vision_feature_layer=-1,
        )
    )
    loss = lambda model, g: llava.expected(model, *drawn(g, 32))
    fit(model, loss, steps=4000, rate=2e-3)
    pixels, prompt, answer = drawn(torch.Generator().manual_seed(2), 150)
    samples = pixels | {"input_ids": prompt, "labels": answer}
    pixels, prompt, _ = drawn(torch.Generator().manual_seed(3), 16)
    inputs = pixels | {"input_ids": prompt}
    case("llava_next/next-shapes", model, inputs, samples, written)
    # Tiles are as large as this says.
    processor = {
        "crop_size": {"height": SIDE, "width": SIDE}, "image_grid_pinpoints": [[SIDE, 2 * SIDE]],
        "image_processor_type": "LlavaNextImageProcessor", "size": {"shortest_edge": SIDE},
    }
    path = TRAINED / "llava_next/next-shapes/preprocessor_config.json"
    path.write_text(json.dumps(processor, indent=2) + "\n")
