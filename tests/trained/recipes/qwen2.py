"""A small text: names, and behind a colon the same names in the order of the alphabet.
Half a minute."""

import torch
from trained import case, fit, written
from transformers import Qwen2Config, Qwen2ForCausalLM

NAMES = (
    "ann bob cid dan eve fay gus hal ida jim kay leo "
    "mia ned ola pam quin ray sue tom una val wes xia"
).split()
END, COLON, FIRST = 1, 2, 3
MANY = 7


def texts(generator, count):
    """Token ids: `MANY` names, a colon, the names in order, the end."""
    names = torch.rand((count, len(NAMES)), generator=generator).argsort(1)[:, :MANY] + FIRST
    colon, end = (torch.full((count, 1), token) for token in (COLON, END))
    return torch.cat([names, colon, names.sort(1).values, end], 1)


def loss(model, generator):
    ids = texts(generator, 64).to(model.device)
    logits = model(input_ids=ids).logits[:, MANY:-1]
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, MANY + 1 :])


def make():
    torch.manual_seed(1)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=FIRST + len(NAMES), hidden_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=128,
            initializer_range=0.08, max_position_embeddings=64, bos_token_id=0, eos_token_id=END,
            pad_token_id=0, tie_word_embeddings=True,
        )
    )
    fit(model, loss, steps=600, rate=3e-3)
    held_out = texts(torch.Generator().manual_seed(2), 200)
    samples = {"input_ids": held_out[:, : MANY + 1], "labels": held_out[:, MANY + 1 :]}
    inputs = {"input_ids": texts(torch.Generator().manual_seed(3), 32)[:, : MANY + 1]}
    case("qwen2/qwen2-order", model, inputs, samples, written, new_tokens=MANY + 1)
