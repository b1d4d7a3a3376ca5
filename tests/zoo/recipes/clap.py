"""Sounds and texts: windows with shifts, padding and none, a stretched spectrogram, fused parts."""

import torch
from transformers import ClapConfig, ClapModel

from zoo import case, ids, mask


def config(audio, text=None, **fields):
    defaults = dict(
        text_config=dict(
            vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=40, max_position_embeddings=24,
        )
        | (text or {}),
        audio_config=audio,
        projection_dim=20,
    )
    return ClapConfig(**(defaults | fields))


def statistics(tensors):
    """A trained model's batch norms are not at rest: means and variances of their own."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in sorted(tensors.items()):
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_mean"):
            tensors[name] = 0.3 * noise
        elif name.endswith("running_var"):
            tensors[name] = 1 + 0.5 * noise.abs()
        elif "_att." in name and tensor.dim() == 1 and name.endswith("weight"):
            tensors[name] = 1 + 0.2 * noise
        elif name.endswith("relative_position_bias_table"):
            tensors[name] = 0.5 * noise
        elif name.startswith("logit_scale"):
            tensors[name] = 2 + 0.5 * noise
    return tensors


def spectrogram(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def texts(seed, *kept):
    """Texts padded on the right with token 1, which RoBERTa gives no position."""
    length = max(kept)
    padding = mask(length, *kept)
    return {
        "input_ids": torch.where(padding == 1, ids(seed, 60, len(kept), length), 1),
        "attention_mask": padding,
    }


def make():
    case(
        "clap/clap-unfused",
        ClapModel,
        # 16 × 16 patches in windows of 4, then 8 × 8. 120 frames are stretched to 128.
        config(
            dict(
                spec_size=64, num_mel_bins=32, window_size=4, patch_embeds_hidden_size=12,
                depths=[2, 2], num_attention_heads=[2, 3], hidden_size=24,
            ),
        ),
        {"input_features": spectrogram(71, 2, 1, 120, 32), **texts(72, 9, 6, 4)},
        edit_weights=statistics,
    )
    case(
        "clap/clap-fused",
        ClapModel,
        config(
            dict(
                spec_size=32, num_mel_bins=8, window_size=4, patch_embeds_hidden_size=16,
                depths=[1, 2], num_attention_heads=[2, 4], hidden_size=32, enable_fusion=True,
            ),
        ),
        {
            "input_features": spectrogram(73, 3, 4, 128, 8),
            "is_longer": torch.tensor([[True], [False], [True]]),
            **texts(74, 7, 5),
        },
        edit_weights=statistics,
    )
    case(
        "clap/clap-overlap",
        ClapModel,
        # Overlapping patches that are wider than high, 12 × 8 of them: windows of 3 need padding in
        # one direction, and the second stage's 6 × 4 in that direction too.
        config(
            dict(
                spec_size=48, num_mel_bins=24, window_size=3, patch_size=[6, 10],
                patch_stride=[4, 6], patch_embeds_hidden_size=12, depths=[2, 2],
                num_attention_heads=[3, 2], hidden_size=24, qkv_bias=False, mlp_ratio=2.5,
                hidden_act="gelu_new", enable_patch_layer_norm=False, layer_norm_eps=1e-6,
            ),
            text=dict(hidden_act="gelu_new", pad_token_id=1),
            projection_hidden_act="gelu",
        ),
        {"input_features": spectrogram(75, 1, 1, 96, 24), **texts(76, 8, 3)},
        edit_weights=statistics,
    )
