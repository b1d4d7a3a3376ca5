"""Speech to text: two sizes of spectra, heads tied and not, tokens suppressed."""

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from zoo import case, ids


def config(**fields):
    defaults = dict(
        vocab_size=96, num_mel_bins=80, d_model=48, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=72,
        decoder_ffn_dim=72, max_source_positions=20, max_target_positions=40,
        decoder_start_token_id=1, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        suppress_tokens=None, begin_suppress_tokens=None,
    )
    return WhisperConfig(**(defaults | fields))


def features(seed, batch, mels, frames):
    """Spectra in the range that Whisper's have: mostly within ±1."""
    generator = torch.Generator().manual_seed(seed)
    return 0.6 * torch.randn(batch, mels, frames, generator=generator)


def start(seed, *shape):
    """Decoder tokens behind the start token."""
    tokens = ids(seed, 96, *shape)
    tokens[:, 0] = 1
    return tokens


def make():
    case(
        "whisper/whisper-80-tied",
        WhisperForConditionalGeneration,
        config(),
        {"input_features": features(41, 1, 80, 40), "decoder_input_ids": start(42, 1, 7)},
        new_tokens=16,
    )
    case(
        "whisper/whisper-128-untied",
        WhisperForConditionalGeneration,
        # Stacks of different depth, heads and width of the feed-forward, as in turbo releases.
        config(
            num_mel_bins=128, d_model=36, encoder_layers=3, decoder_layers=1,
            encoder_attention_heads=3, decoder_attention_heads=2, encoder_ffn_dim=80,
            decoder_ffn_dim=100, max_source_positions=25, scale_embedding=True,
            activation_function="relu", tie_word_embeddings=False,
        ),
        {"input_features": features(43, 2, 128, 50), "decoder_input_ids": start(44, 2, 4)},
        new_tokens=16,
    )
    case(
        "whisper/whisper-suppressed",
        WhisperForConditionalGeneration,
        config(d_model=24, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
               decoder_attention_heads=2),
        {"input_features": features(45, 1, 80, 40), "decoder_input_ids": start(46, 1, 5)},
        new_tokens=16,
        # Every third token never, and most of the others not first.
        generation={
            "suppress_tokens": list(range(4, 96, 3)),
            "begin_suppress_tokens": [i for i in range(96) if i % 3 != 1 and i not in (50, 90)],
        },
    )
