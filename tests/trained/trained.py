"""Trains a model of transformers on a synthetic task, and writes the case of it.

A case is a folder `tests/trained/<class>/<name>/` in the form that every case has, with
`samples.safetensors` in it: inputs that training has not seen, a row each, and under `labels` what
is right about them, padded with -100:

- of one column: which logit is the highest;
- of several: the tokens that are written, or heard;
- beside `boxes` [samples, things, 4] (middle, width and height): the labels of things.

Weights are stored in f16, to which they are rounded before anything is computed with them. Pixels
and sounds of samples are stored in I8, as 128ths, which is what models are trained on.
"""

import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from zoo import write

TRAINED = Path(__file__).parent
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LIMIT_BYTES = 1_500_000
PADDING = -100
# Models so small gain nothing from more, and one machine then trains them as another does.
torch.set_num_threads(1)


def fixed(values):
    """Numbers from -1 to 1 as 128ths, which a byte holds."""
    return (values * 127).round().clamp(-127, 127) / 128


def fit(model, loss, steps, rate, seed=1, report=200):
    """Moves all parameters by the gradient of `loss(model, generator)` so many times; Adam, with a
    rate that rises for a twentieth of the steps and falls along a cosine."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model.to(DEVICE).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.05
    )
    begun, mean = time.time(), 0.0
    for step in range(steps):
        value = loss(model, generator)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean += value.item() / report
        if (step + 1) % report == 0:
            print(f"  step {step + 1}: loss {mean:.4f}, {time.time() - begun:.0f} s", flush=True)
            mean = 0.0
    return model.cpu().eval()


def on_device(tensors):
    return {name: tensor.to(DEVICE) for name, tensor in tensors.items()}


def halved(model):
    """Rounds all weights to f16."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())


def stored(tensors):
    """The same in the file."""
    return {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}


def small(name, tensor):
    """A tensor of samples in few bytes."""
    if name in ("pixel_values", "input_values", "input_features"):
        return (tensor * 128).to(torch.int8)
    return tensor if tensor.is_floating_point() else tensor.to(torch.int16)


def case(path, model, inputs, samples, right, new_tokens=0):
    """Writes the case at `path`; `right(model, samples)` says which answers are right."""
    halved(model)
    share = right(model, samples).float().mean().item()
    folder = TRAINED / path
    is_kept = write(folder, model, inputs, new_tokens, bool(new_tokens), None, stored, {}, None)
    assert is_kept, f"{path} is not sure of what it writes"
    # 128ths are exact in f16, too.
    given = folder / "inputs.safetensors"
    save_file(stored(load_file(given)), given)
    kept = {name: small(name, tensor).contiguous() for name, tensor in samples.items()}
    save_file(kept, folder / "samples.safetensors")
    manifest = json.loads((folder / "case.json").read_text()) | {"samples": "samples.safetensors"}
    manifest.pop("untrained", None)
    (folder / "case.json").write_text(json.dumps(manifest, indent=2) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size < LIMIT_BYTES, f"{path} takes {size} bytes; keep it below {LIMIT_BYTES}"
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{path}: {100 * share:.1f}% right, {count} parameters, {size} bytes")


def chosen(field):
    """Whether the highest of the logits of a field is the right one."""

    def right(model, samples):
        inputs = {name: tensor for name, tensor in samples.items() if name != "labels"}
        with torch.no_grad():
            return model(**inputs)[field].argmax(-1) == samples["labels"]

    return right


def written(model, samples):
    """Whether exactly the right tokens are written after a prompt."""
    inputs = {name: tensor for name, tensor in samples.items() if name != "labels"}
    labels = samples["labels"]
    rows = []
    for row, label in enumerate(labels):
        own = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        wanted = label[label != PADDING]
        start = own["input_ids"].shape[1] if "decoder_input_ids" not in own else 1
        with torch.no_grad():
            ids = model.generate(**own, max_new_tokens=len(wanted), do_sample=False)[0, start:]
        rows.append(ids.tolist() == wanted.tolist())
    return torch.tensor(rows)
