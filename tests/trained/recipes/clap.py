"""A spoken digit and ten texts, one of which names it. Three minutes; espeak-ng speaks."""

import digits
import torch
from trained import case, chosen, fit, fixed, on_device
from transformers import ClapConfig, ClapModel
from transformers.audio_utils import mel_filter_bank

FRAMES, BINS, WINDOW, HOP = 128, 32, 128, 20
FILTERS = torch.tensor(
    mel_filter_bank(WINDOW // 2 + 1, BINS, 50.0, digits.RATE / 2, digits.RATE, norm="slaney"),
    dtype=torch.float32,
)
START, END, FIRST = 0, 2, 4


def texts():
    """A start, a digit, the end."""
    return torch.tensor([[START, FIRST + digit, END] for digit in range(10)])


def spectrograms(sounds):
    """Loudness `[n, 1, FRAMES, BINS]` by mel, in units of 40 dB about a middle one."""
    window = torch.hann_window(WINDOW)
    power = torch.stft(sounds, WINDOW, HOP, window=window, return_complex=True).abs() ** 2
    mel = torch.einsum("nft,fm->ntm", power[..., :FRAMES], FILTERS).clamp(1e-6)
    return fixed((mel.log10() / 4 + 0.5).clamp(-1, 1))[:, None]


def heard(generator, recordings, count):
    labels = torch.randint(10, (count,), generator=generator)
    length = HOP * FRAMES
    sounds = [digits.recording(generator, recordings, [it], length, 0.05) for it in labels.tolist()]
    return spectrograms(torch.stack(sounds)), labels


def make():
    torch.manual_seed(1)
    model = ClapModel(
        ClapConfig(
            text_config=dict(
                vocab_size=16, hidden_size=64, num_hidden_layers=1, num_attention_heads=4,
                intermediate_size=128, max_position_embeddings=16, hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0, pad_token_id=1, initializer_range=0.08,
            ),
            audio_config=dict(
                spec_size=64, num_mel_bins=BINS, window_size=4, patch_embeds_hidden_size=64,
                depths=[1, 1], num_attention_heads=[4, 4], hidden_size=128, mlp_ratio=2.0,
                hidden_dropout_prob=0.0, drop_path_rate=0.0, attention_probs_dropout_prob=0.0,
            ),
            projection_dim=64,
        )
    )
    recordings = digits.training()

    def loss(model, generator):
        features, labels = heard(generator, recordings, 24)
        inputs = on_device({"input_features": features, "input_ids": texts()})
        logits = model(**inputs).logits_per_audio
        return torch.nn.functional.cross_entropy(logits, labels.to(logits.device))

    fit(model, loss, steps=4000, rate=1e-3)
    features, labels = heard(torch.Generator().manual_seed(2), digits.held_out(), 150)
    samples = {"input_features": features, "input_ids": texts(), "labels": labels}
    # A calibration may read these.
    features, _ = heard(torch.Generator().manual_seed(3), recordings, 8)
    inputs = {"input_features": features, "input_ids": texts()}
    case("clap/clap-digits", model, inputs, samples, chosen("logits_per_audio"))
