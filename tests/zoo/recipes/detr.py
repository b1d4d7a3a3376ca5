"""Objects in images: both kinds of ResNet block, both kinds of position, padded images."""

import torch
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

from zoo import case, pixels, renamed


def config(backbone, **fields):
    defaults = dict(
        d_model=32, num_queries=9, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=56,
        decoder_ffn_dim=40, encoder_attention_heads=4, decoder_attention_heads=2,
        use_timm_backbone=False, num_labels=5,
        backbone_config=ResNetConfig(**backbone),
    )
    return DetrConfig(**(defaults | fields))


def trained(tensors):
    """A trained model's batch norms are not at rest: means, variances and gains of their own."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in sorted(tensors.items()):
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_mean"):
            tensors[name] = 0.3 * noise
        elif name.endswith("running_var"):
            tensors[name] = 1 + 0.5 * noise.abs()
        elif "normalization.weight" in name:
            tensors[name] = 1 + 0.2 * noise
        elif "normalization.bias" in name:
            tensors[name] = 0.2 * noise
        elif name.startswith("bbox_predictor") and name.endswith("weight"):
            # Boxes that are not all in the middle.
            tensors[name] = 4 * tensor
        elif name.endswith("_proj.weight") and "layers." in name:
            # Pixels that differ but little are told apart.
            tensors[name] = 2.5 * tensor
        elif name.endswith("query_position_embeddings.weight"):
            tensors[name] = noise
    return tensors


def new_names(tensors):
    """The names that transformers 5 gives its modules; it still writes files with the old ones."""
    parts = {
        "backbone.conv_encoder.": "backbone.", "out_proj.": "o_proj.", ".fc1": ".mlp.fc1",
        ".fc2": ".mlp.fc2",
    }
    return {renamed(name, parts): tensor for name, tensor in trained(tensors).items()}


def masked(seed, *sizes):
    """Images of several sizes in the upper left of one batch, and where they are."""
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    values = pixels(seed, len(sizes), 3, height, width)
    mask = torch.zeros(len(sizes), height, width, dtype=torch.int64)
    for row, (h, w) in enumerate(sizes):
        mask[row, :h, :w] = 1
    return {"pixel_values": values * mask[:, None], "pixel_mask": mask}


def make():
    case(
        "detr/detr-bottleneck-masked",
        DetrForObjectDetection,
        config(
            dict(
                embedding_size=8, hidden_sizes=[16, 24, 32, 40], depths=[1, 2, 1, 1],
                out_features=["stage4"],
            )
        ),
        masked(71, (66, 50), (40, 90)),
        edit_weights=trained,
    )
    case(
        "detr/detr-basic-learned",
        DetrForObjectDetection,
        config(
            dict(
                embedding_size=10, hidden_sizes=[10, 14, 20], depths=[1, 1, 1],
                layer_type="basic", downsample_in_first_stage=True, out_features=["stage2"],
            ),
            position_embedding_type="learned", auxiliary_loss=True, activation_function="gelu",
            d_model=24,
        ),
        {"pixel_values": pixels(72, 2, 3, 50, 66)},
        edit_weights=trained,
    )
    case(
        "detr/detr-early-stride",
        DetrForObjectDetection,
        config(
            dict(
                embedding_size=8, hidden_sizes=[12, 20], depths=[2, 2],
                downsample_in_bottleneck=True, hidden_act="silu",
            ),
            num_queries=5,
        ),
        {"pixel_values": pixels(73, 1, 3, 40, 56)},
        edit_weights=new_names,
    )
