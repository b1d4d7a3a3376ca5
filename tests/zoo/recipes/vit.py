"""Images as patches: labels, a pooler of its own width, oblong images, positions that are resized."""

from transformers import ViTConfig, ViTForImageClassification, ViTModel

from zoo import case, pixels, renamed


def config(**fields):
    defaults = dict(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=72,
        image_size=32, patch_size=8,
    )
    return ViTConfig(**(defaults | fields))


def new_names(tensors):
    """The names that transformers 5 gives its modules; it still writes files with the old ones."""
    parts = {
        "encoder.layer.": "layers.", "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj",
        "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj", "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }
    return {renamed(name, parts): tensor for name, tensor in tensors.items()}


def make():
    case(
        "vit/vit-labels",
        ViTForImageClassification,
        config(num_labels=7),
        {"pixel_values": pixels(41, 2, 3, 32, 32)},
    )
    case(
        "vit/vit-oblong-pooled",
        ViTModel,
        config(
            hidden_size=36, num_attention_heads=3, hidden_act="gelu_new", qkv_bias=False,
            image_size=[24, 40], patch_size=[6, 5], num_channels=1, pooler_output_size=20,
        ),
        {"pixel_values": pixels(42, 2, 1, 24, 40)},
        edit_weights=new_names,
    )
    # The model knows 4 × 4 patches and sees 3 × 5 and a few pixels that fill no patch.
    case(
        "vit/vit-resized",
        ViTForImageClassification,
        config(num_labels=5, layer_norm_eps=1e-6, pooler_act="gelu"),
        {"pixel_values": pixels(43, 1, 3, 26, 42)},
        options={"interpolate_pos_encoding": True},
    )
