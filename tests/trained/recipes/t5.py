"""A toy translation. A minute.

"the small dog sees a red bird" becomes "zu hund klein vogel rot un sehat": adjectives behind nouns,
verbs at the end, articles by what stands behind them, and one of two endings by who does it."""

import torch
from trained import PADDING, case, fit, written
from transformers import T5Config, T5ForConditionalGeneration

NOUNS, ADJECTIVES, VERBS = 16, 10, 8
# Ids below 2 are padding and the end. Both languages have one table of tokens.
THE, A = 2, 3
NOUN, ADJECTIVE, VERB = 4, 4 + NOUNS, 4 + NOUNS + ADJECTIVES
OTHER = VERB + VERBS
VOCABULARY = 128


def phrase(draw):
    """An article, up to two adjectives and a noun; and the same translated."""
    article, noun = draw(2), draw(NOUNS)
    adjectives = [draw(ADJECTIVES) for _ in range(draw(3))]
    source = [THE + article, *(ADJECTIVE + it for it in adjectives), NOUN + noun]
    # Nouns have three genders, with which the article agrees.
    adapted = VERB + 2 * VERBS + 3 * article + noun % 3
    target = [NOUN + noun, *(ADJECTIVE + it for it in adjectives[::-1]), adapted]
    return source, [OTHER + it - NOUN for it in target], noun


def pair(draw):
    """A sentence and its translation, both ended."""
    (subject, own, who), (object_, other, _) = phrase(draw), phrase(draw)
    verb = draw(VERBS)
    source = [*subject, VERB + verb, *object_, 1]
    # A verb's ending is that of who does it.
    return source, [*own, *other, OTHER + VERB - NOUN + 2 * verb + who % 2, 1]


def pairs(generator, count):
    """Sentences `[count, …]`, their mask, and translations, padded."""
    numbers = iter(torch.randint(1 << 30, (count * 16,), generator=generator).tolist())
    made = [pair(lambda below: next(numbers) % below) for _ in range(count)]

    def padded(rows, filler, width):
        return torch.tensor([row + [filler] * (width - len(row)) for row in rows])

    ids = padded([source for source, _ in made], 0, 10)
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}, padded(
        [target for _, target in made], PADDING, 10
    )


def loss(model, generator):
    inputs, labels = pairs(generator, 64)
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    return model(**inputs, labels=labels.to(model.device)).loss


def started(inputs):
    start = torch.zeros(len(inputs["input_ids"]), 1, dtype=torch.long)
    return inputs | {"decoder_input_ids": start}


def make():
    torch.manual_seed(1)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=VOCABULARY, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0,
            relative_attention_num_buckets=16, relative_attention_max_distance=20,
        )
    )
    fit(model, loss, steps=1000, rate=3e-3)
    inputs, labels = pairs(torch.Generator().manual_seed(2), 200)
    samples = started(inputs) | {"labels": labels}
    inputs, _ = pairs(torch.Generator().manual_seed(3), 32)
    case("t5/t5-toy", model, started(inputs), samples, written, new_tokens=12)
