"""Writes the zoo: tiny cases with seeded random weights, and what Hugging Face computes with them.

    python -m venv ENV && ENV/bin/pip install -r tests/zoo/requirements.txt
    ENV/bin/python tests/zoo/make.py [CLASS/NAME …]

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
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.utils import logging

logging.disable_progress_bar()

ZOO = Path(__file__).parent
LIMIT_BYTES = 300_000
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


def outputs(model, inputs):
    """The tensors of the forward pass, named as the fields of the output."""
    with torch.no_grad():
        output = model(**inputs)
    return {k: v.float() for k, v in output.items() if isinstance(v, torch.Tensor)}


def greedy(model, input_ids, new_tokens, early_end):
    """Greedy continuation; none if a step is a near tie, the text hardly varies, or it ends early
    without being meant to (or the reverse)."""
    generated = model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=new_tokens,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    for step in generated.logits:
        best, second = step[0].topk(2).values
        if (best - second) / step.abs().max() < SMALLEST_MARGIN:
            return None
    new = generated.sequences[0, input_ids.shape[1] :].tolist()
    if (model.config.eos_token_id in new) != early_end or len(set(new)) <= max(3, len(new) // 4):
        return None
    return generated.sequences


def write(folder, model, inputs, new_tokens, early_end, edit_config):
    """Writes one case; says whether greedy decoding was far enough from ties to keep it."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    if edit_config:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        edit_config(config)
        path.write_text(json.dumps(config, indent=2) + "\n")
    # What is expected comes from the files as they lie there, not from the object in memory.
    model = type(model).from_pretrained(folder, attn_implementation="eager").eval()
    expected = outputs(model, inputs)
    if "attention_mask" in inputs:
        unmasked = outputs(model, {k: v for k, v in inputs.items() if k != "attention_mask"})
        for name in expected:
            change = (unmasked[name] - expected[name]).norm() / expected[name].norm()
            assert change > 0.01, f"{folder.name}: the mask changes {name} by {change:.1e} only"
    if new_tokens:
        sequence = greedy(model, inputs["input_ids"], new_tokens, early_end)
        if sequence is None:
            return False
        expected["generated_ids"] = sequence
    save_file({k: v.contiguous() for k, v in inputs.items()}, folder / "inputs.safetensors")
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    case = {
        "class": folder.parent.name,
        "inputs": "inputs.safetensors",
        "expected": "expected.safetensors",
    }
    (folder / "case.json").write_text(json.dumps(case, indent=2) + "\n")
    return True


def case(path, model_class, config, inputs, new_tokens=0, early_end=False, edit_config=None):
    """Makes the case at `path`, with the first seed that keeps greedy decoding clear of ties."""
    if len(sys.argv) > 1 and path not in sys.argv[1:]:
        return
    folder = ZOO / path
    for seed in range(1000):
        torch.manual_seed(seed)
        model = model_class(config).eval()
        randomise(model, seed)
        if write(folder, model, inputs, new_tokens, early_end, edit_config):
            break
    else:
        raise SystemExit(f"{path}: no seed below 1000 decodes without near ties")
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size < LIMIT_BYTES, f"{path} takes {size} bytes; keep it below {LIMIT_BYTES}"
    print(f"{path}: seed {seed}, {size} bytes")


def bert():
    """Encoders: pooled and not, three activations, padding on either side."""
    case(
        "bert/bert-base-tiny",
        BertModel,
        BertConfig(
            vocab_size=100, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=72, max_position_embeddings=40,
        ),
        {
            "input_ids": ids(1, 100, 2, 17),
            "attention_mask": mask(17, 17, 11),
            "token_type_ids": torch.tensor([[0] * 8 + [1] * 9, [0] * 6 + [1] * 11]),
        },
    )
    case(
        "bert/bert-mlm-tied",
        BertForMaskedLM,
        BertConfig(
            vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=72, max_position_embeddings=32, layer_norm_eps=1e-5,
        ),
        {"input_ids": ids(2, 96, 1, 13)},
    )
    case(
        "bert/bert-sentence-relu",
        BertModel,
        BertConfig(
            vocab_size=128, hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
            intermediate_size=128, max_position_embeddings=24, hidden_act="relu",
        ),
        {"input_ids": ids(3, 128, 3, 10), "attention_mask": mask(10, 10, 7, 3, left=True)},
    )
    case(
        "bert/bert-mlm-gelu-new",
        BertForMaskedLM,
        BertConfig(
            vocab_size=90, hidden_size=36, num_hidden_layers=2, num_attention_heads=3,
            intermediate_size=100, max_position_embeddings=20, hidden_act="gelu_new",
        ),
        {"input_ids": ids(4, 90, 2, 9), "attention_mask": mask(9, 5, 9)},
    )


def llama():
    """Decoders: head sharing, tied and untied heads, RoPE variants, padding, biases, an early end."""

    def config(**fields):
        defaults = dict(
            vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, intermediate_size=96, max_position_embeddings=128,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )
        return LlamaConfig(**(defaults | fields))

    def published_rope(config):
        # Llama 3's own config.json has these two fields, which transformers 5 merged into one.
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope

    case(
        "llama/llama-gqa",
        LlamaForCausalLM,
        config(
            num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
            intermediate_size=72,
        ),
        {"input_ids": ids(11, 96, 1, 12)},
        new_tokens=16,
    )
    case(
        "llama/llama-tied-mha",
        LlamaForCausalLM,
        config(
            hidden_size=64, num_attention_heads=4, num_key_value_heads=4, intermediate_size=72,
            tie_word_embeddings=True, rms_norm_eps=1e-5,
        ),
        {"input_ids": ids(12, 96, 1, 5)},
        new_tokens=16,
        early_end=True,
    )
    case(
        "llama/llama-rope-linear",
        LlamaForCausalLM,
        config(
            num_attention_heads=4, num_key_value_heads=2,
            rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
        ),
        {"input_ids": ids(13, 96, 1, 20)},
        new_tokens=16,
    )
    case(
        "llama/llama-rope-llama3",
        LlamaForCausalLM,
        config(
            hidden_size=64, intermediate_size=72,
            # Wavelengths of a 32-wide head start at 2π, 11 and 20: with 32 positions one is kept,
            # two are blended and the rest are stretched.
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        ),
        {"input_ids": ids(14, 96, 1, 40)},
        new_tokens=16,
        edit_config=published_rope,
    )
    case(
        "llama/llama-padded",
        LlamaForCausalLM,
        config(
            hidden_size=48, num_attention_heads=4, num_key_value_heads=2, intermediate_size=100,
        ),
        # A decoder never looks right, so padding there touches padding alone, and padding on the
        # left leaves rows that see no token at all. A hole in the middle is where a mask counts.
        {
            "input_ids": ids(15, 96, 2, 14),
            "attention_mask": torch.tensor([[1] * 14, [1] * 2 + [0] * 4 + [1] * 5 + [0] * 3]),
        },
    )
    case(
        "llama/llama-bias",
        LlamaForCausalLM,
        config(attention_bias=True, mlp_bias=True, num_attention_heads=2, hidden_act="silu"),
        {"input_ids": ids(16, 96, 1, 7)},
        new_tokens=16,
    )


if __name__ == "__main__":
    bert()
    llama()
