"""One to three spoken digits, written down. Three minutes; espeak-ng speaks."""

import digits
import torch
from trained import PADDING, case, fit, fixed
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

SAMPLES, MOST = 4800, 3


def heard(generator, recordings, count):
    """Sounds `[count, SAMPLES]` and the tokens of their digits; 0 is the blank."""
    sounds, labels = [], []
    for _ in range(count):
        many = int(torch.randint(1, MOST + 1, (1,), generator=generator))
        said = torch.randint(10, (many,), generator=generator).tolist()
        sounds.append(digits.recording(generator, recordings, said, SAMPLES))
        labels.append([digit + 1 for digit in said] + [PADDING] * (MOST - many))
    return fixed(torch.stack(sounds)), torch.tensor(labels)


def right(model, samples):
    with torch.no_grad():
        frames = model(samples["input_values"]).logits.argmax(-1)
    rows = []
    for row, label in zip(frames, samples["labels"]):
        written = [int(it) for it in row.unique_consecutive() if it > 0]
        rows.append(written == label[label != PADDING].tolist())
    return torch.tensor(rows)


def make():
    torch.manual_seed(1)
    model = Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=11, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=128, initializer_range=0.08, conv_dim=[32, 64, 64, 64],
            conv_stride=[5, 4, 2, 2], conv_kernel=[10, 8, 4, 4],
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
            hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0,
            activation_dropout=0.0, final_dropout=0.0, mask_time_prob=0.0, pad_token_id=0,
            ctc_loss_reduction="mean", ctc_zero_infinity=True,
        )
    )
    recordings = digits.training()

    def loss(model, generator):
        sounds, labels = heard(generator, recordings, 16)
        return model(sounds.to(model.device), labels=labels.to(model.device)).loss

    fit(model, loss, steps=2000, rate=2e-3)
    recordings = digits.held_out()
    sounds, labels = heard(torch.Generator().manual_seed(2), recordings, 150)
    samples = {"input_values": sounds, "labels": labels}
    sounds, _ = heard(torch.Generator().manual_seed(3), recordings, 8)
    case("wav2vec2/wav2vec2-digits", model, {"input_values": sounds}, samples, right)
