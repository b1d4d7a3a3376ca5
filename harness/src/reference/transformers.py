"""Computes what transformers gives for a model and its inputs, in f32 on the CPU.

    python3 transformers.py MODEL INPUTS EXPECTED

MODEL is a folder as it was published, INPUTS and EXPECTED are safetensors files: the arguments of the
class's forward(), and the fields of what it returns, with `generated_ids` where it generates.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

NEW_TOKENS = 16
# By the names under which Fewbit compares outputs.
OUTPUTS = [
    "logits",
    "last_hidden_state",
    "pooler_output",
    "pred_boxes",
    "text_embeds",
    "image_embeds",
    "audio_embeds",
    "video_embeds",
    "logits_per_image",
    "logits_per_text",
    "logits_per_audio",
    "logits_per_video",
    "image_hidden_states",
]


def load(folder):
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    config = folder / "config.json"
    ggufs = sorted(folder.glob("*.gguf"))
    if ggufs and not config.exists():
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=ggufs[0].name, **options
        )
    name = json.loads(config.read_text())["architectures"][0]
    return getattr(transformers, name).from_pretrained(folder, **options)


def generate(model, inputs):
    """Greedy, as the publisher wants it in all else; none for models that generate nothing."""
    if not model.can_generate():
        return None
    inputs = dict(inputs)
    prompt = inputs.get("decoder_input_ids", inputs.get("input_ids"))
    generated = model.generate(
        **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1
    )
    start = generated[:, : prompt.shape[1]]
    # Whisper's generate() gives the new tokens alone.
    if start.shape != prompt.shape or not torch.equal(start, prompt):
        generated = torch.cat([prompt, generated], dim=1)
    return generated if generated.shape[1] > prompt.shape[1] else None


def main():
    folder, inputs, expected = map(Path, sys.argv[1:])
    inputs = load_file(inputs)
    if "is_longer" in inputs:
        inputs["is_longer"] = inputs["is_longer"].bool().reshape(-1, 1)
    model = load(folder).eval()
    with torch.no_grad():
        output = model(**inputs)
        generated = generate(model, inputs)
    tensors = {
        name: output[name].float().contiguous()
        for name in OUTPUTS
        if name in output and isinstance(output[name], torch.Tensor)
    }
    if generated is not None:
        tensors["generated_ids"] = generated.contiguous()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, expected)


if __name__ == "__main__":
    main()
