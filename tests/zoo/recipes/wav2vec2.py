"""Letters from sound: both norms of the extractor, both orders of the layers' norms, even and odd
positional kernels, padding, and the names that files had before torch's parametrizations."""

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from zoo import case, mask


def config(**fields):
    defaults = dict(
        vocab_size=32, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=72, conv_dim=[32, 24, 20], conv_stride=[5, 2, 2], conv_kernel=[10, 3, 2],
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4,
    )
    return Wav2Vec2Config(**(defaults | fields))


def sound(seed, batch, samples):
    """Noise of variance 1, as the feature extractor normalises sound."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, samples, generator=generator)


def old_names(tensors):
    """As published files name the lengths and directions of the positional convolution."""
    return {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in tensors.items()
    }


def make():
    case(
        "wav2vec2/wav2vec2-group",
        Wav2Vec2ForCTC,
        config(),
        {"input_values": sound(51, 1, 700)},
        edit_weights=old_names,
    )
    case(
        "wav2vec2/wav2vec2-stable",
        Wav2Vec2ForCTC,
        config(
            do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True,
            num_conv_pos_embeddings=7, num_conv_pos_embedding_groups=3, hidden_size=36,
            num_attention_heads=3, layer_norm_eps=1e-3,
        ),
        {"input_values": sound(52, 2, 640), "attention_mask": mask(640, 640, 437)},
    )
    case(
        "wav2vec2/wav2vec2-adapter",
        Wav2Vec2ForCTC,
        config(
            do_stable_layer_norm=True, adapter_attn_dim=10, num_conv_pos_embedding_groups=1,
            feat_extract_activation="relu", hidden_act="gelu_new", num_conv_pos_embeddings=5,
        ),
        {"input_values": sound(53, 2, 500), "attention_mask": mask(500, 333, 500)},
    )
