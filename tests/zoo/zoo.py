"""Makes a case from a model class of transformers, its configuration and inputs.

Each case is a folder `tests/zoo/<class>/<name>/` in the form that every case has (see
ARCHITECTURE.md). Random weights at Hugging Face's usual spread of 0.02 would leave attention nearly
uniform and most wrong masks unnoticed, so weights are drawn wider here, norms lie around 1 with
noise and biases are not zero; where a case has a mask, dropping it must change the output. Sizes
are small but not all round: head widths of 12 and 24 and widths of 48 and 72 end in part of a
quantisation group.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationMixin
from transformers.utils import logging

logging.disable_progress_bar()

ZOO = Path(__file__).parent
LIMIT_BYTES = 700_000
SPREAD = 0.12
# Greedy decoding is compared token by token, so the best token must win by far more than f32 noise.
SMALLEST_MARGIN = 5e-3


def randomise(model, seed):
    """Draws every parameter anew: matrices ~ N(0, SPREAD²), norms ~ 1 ± 0.2, biases ~ N(0, 0.2²)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(SPREAD * noise)


def ids(seed, vocabulary, *shape):
    """Token ids that stay clear of the special ones below 4."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, vocabulary, shape, generator=generator)


def mask(length, *kept, left=False):
    """An attention mask of one row for each number of kept tokens, padded right or left."""
    rows = [[1] * n + [0] * (length - n) for n in kept]
    return torch.tensor([row[::-1] if left else row for row in rows])


def pixels(seed, *shape):
    """Images or videos as they come from a preprocessor: around 0 with a spread of 1, and smooth
    enough for neighbours to be alike."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (noise + noise.roll(1, -1) + noise.roll(1, -2)) / 3**0.5


def renamed(name, parts):
    """A tensor's name with some of its parts exchanged."""
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


def outputs(model, inputs, options):
    """The tensors of the forward pass, named as the fields of the output."""
    with torch.no_grad():
        output = model(**inputs, **options)
    return {k: v.float() for k, v in output.items() if isinstance(v, torch.Tensor)}


def greedy(model, inputs, new_tokens, early_end):
    """Greedy continuation; none if a step is a near tie, the text hardly varies, or it ends early
    without being meant to (or the reverse)."""
    prompt = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    # The first text of a batch, with what belongs to it: a text alone may have several images.
    batch = inputs[prompt].shape[0]
    inputs = {n: value[:1] if value.shape[0] == batch else value for n, value in inputs.items()}
    # A decoder behind an encoder starts from the first token of those it is given.
    sequence = inputs[prompt] if prompt == "input_ids" else inputs[prompt][:, :1]
    start, ends = sequence.shape[1], False
    suppressed = getattr(model.generation_config, "suppress_tokens", None) or []
    suppressed_first = getattr(model.generation_config, "begin_suppress_tokens", None) or []
    while sequence.shape[1] < start + new_tokens and not ends:
        with torch.no_grad():
            logits = model(**(inputs | {prompt: sequence})).logits[0, -1]
        logits[suppressed if sequence.shape[1] > start else suppressed + suppressed_first] = -1e30
        best, second = logits.topk(2).values
        if (best - second) / logits[logits > -1e30].abs().max() < SMALLEST_MARGIN:
            return None
        # A text that writes the token of an image asks for one that is not there.
        if logits.argmax() == getattr(model.config, "image_token_id", None):
            return None
        sequence = torch.cat([sequence, logits.argmax().view(1, 1)], dim=1)
        ends = sequence[0, -1] == model.config.eos_token_id
    new = sequence[0, start:].tolist()
    if ends != early_end or len(set(new)) <= max(3, len(new) // 4):
        return None
    if suppressed or suppressed_first:
        # The loop above and transformers' own must mean the same by these lists.
        own = GenerationMixin.generate(
            model, **(inputs | {prompt: sequence[:, :start]}), max_new_tokens=new_tokens
        )
        assert own.tolist() == sequence.tolist(), (own, sequence)
    return sequence


def write(
    folder, model, inputs, new_tokens, early_end, edit_config, edit_weights, options, generation,
    quantised,
):
    """Writes one case; says whether greedy decoding was far enough from ties to keep it."""
    shutil.rmtree(folder, ignore_errors=True)
    if generation:
        model.generation_config.update(**generation)
    model.save_pretrained(folder)
    if edit_config:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        edit_config(config)
        path.write_text(json.dumps(config, indent=2) + "\n")
    if edit_weights:
        path = folder / "model.safetensors"
        save_file(edit_weights(load_file(path)), path, metadata={"format": "pt"})
    # What is expected comes from the files as they lie there, not from the object in memory.
    model = type(model).from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    expected = outputs(model, inputs, options)
    for name in {"attention_mask", "pixel_mask"} & inputs.keys():
        unmasked = {k: v for k, v in inputs.items() if k != name}
        unmasked = outputs(model, unmasked, options)
        for output in expected:
            # A text's mask is nothing to what is seen or heard beside it.
            if output in ("audio_embeds", "image_embeds", "image_hidden_states", "video_embeds"):
                continue
            change = (unmasked[output] - expected[output]).norm() / expected[output].norm()
            assert change > 0.01, f"{folder.name}: {name} changes {output} by {change:.1e} only"
    if new_tokens:
        sequence = greedy(model, inputs, new_tokens, early_end)
        if sequence is None:
            return False
        expected["generated_ids"] = sequence
    save_file({k: v.contiguous() for k, v in inputs.items()}, folder / "inputs.safetensors")
    if quantised:
        quantised.store(folder)
    # Some outputs share memory, which the format does not know.
    expected = {k: v.clone().contiguous() for k, v in expected.items()}
    save_file(expected, folder / "expected.safetensors")
    case = {
        "class": folder.parent.name,
        "inputs": "inputs.safetensors",
        "expected": "expected.safetensors",
        "untrained": True,
    }
    (folder / "case.json").write_text(json.dumps(case, indent=2) + "\n")
    return True


def case(
    path,
    model_class,
    config,
    inputs,
    new_tokens=0,
    early_end=False,
    edit_config=None,
    edit_weights=None,
    options=None,
    generation=None,
    quantised=None,
):
    """Makes the case at `path`, with the first seed that keeps greedy decoding clear of ties.

    `edit_config` changes config.json and `edit_weights` gives other tensors, to be as published
    files are; transformers reads them back so. `options` are arguments of forward() that are no
    tensors. `quantised` chooses codes for weights, and in the end stores these in their place."""
    if len(sys.argv) > 1 and path not in sys.argv[1:]:
        return
    folder = ZOO / path
    for seed in range(1000):
        torch.manual_seed(seed)
        model = model_class(config).eval()
        randomise(model, seed)
        edits = (edit_config, quantised.values if quantised else edit_weights)
        if write(
            folder, model, inputs, new_tokens, early_end, *edits, options or {}, generation,
            quantised,
        ):
            break
    else:
        raise SystemExit(f"{path}: no seed below 1000 decodes without near ties")
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size < LIMIT_BYTES, f"{path} takes {size} bytes; keep it below {LIMIT_BYTES}"
    print(f"{path}: seed {seed}, {size} bytes")


