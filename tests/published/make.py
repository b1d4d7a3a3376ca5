"""Writes what published checkpoints are without their weights: configuration, names and shapes.

    python -m venv ENV && ENV/bin/pip install -r tests/zoo/requirements.txt timm
    ENV/bin/python tests/published/make.py

Nothing is downloaded. Configurations are written here from what the model cards publish; names and
shapes come from transformers' and timm's own classes on the meta device. A folder gets

    config.json               the configuration
    tensors.txt               names and shapes as the published file has them
    tensors.transformers5.txt names and shapes as transformers 5 has them, where those differ
    case.json                 class, seed of the weights, sizes of the inputs

A line of a list is a name and the sizes of its axes; `{0..11}` stands for each of these numbers, and
`= name` says that a tensor is another one's copy.
"""

import json
import re
from pathlib import Path

import torch
import transformers as t
from transformers.core_model_loading import revert_weight_conversion

HERE = Path(__file__).parent
SEED = 1


# How inputs are described; engine/src/synthetic.rs reads it.
def normal(*shape):
    return {"normal": list(shape)}


def ids(count, below):
    return {"ids": {"shape": [1, count], "below": below}}


def runs(*pairs):
    """One row: a number and how often it comes."""
    return {"runs": [list(pair) for pair in pairs]}


def image(pixels):
    return normal(1, 3, pixels, pixels)


# The two decoders that LLaVA's files carry, and its tower of images.
VICUNA = dict(
    model_type="llama", vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
    num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=4096, rms_norm_eps=1e-5,
)
MISTRAL = dict(
    model_type="mistral", vocab_size=32064, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
    num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=32768, rms_norm_eps=1e-5,
    rope_theta=1000000.0, sliding_window=None,
)
TOWER = dict(
    model_type="clip_vision_model", hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
    num_attention_heads=16, image_size=336, patch_size=14, projection_dim=768, vocab_size=32000,
)
LLAVA = dict(image_token_index=32000, vision_feature_layer=-2, vision_feature_select_strategy="default",
             projector_hidden_act="gelu", tie_word_embeddings=False, vision_config=TOWER)


def llama(**fields):
    return t.LlamaConfig(rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, **fields)


def qwen2(**fields):
    return t.Qwen2Config(max_position_embeddings=131072, rope_theta=1000000.0, rms_norm_eps=1e-6,
                         bos_token_id=151643, eos_token_id=151643, **fields)


def whisper(size, layers, heads, vocabulary):
    return t.WhisperConfig(
        vocab_size=vocabulary, d_model=size, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads,
        encoder_ffn_dim=4 * size, decoder_ffn_dim=4 * size,
    )


# Tensors that published files hold besides the parameters: buffers that later versions dropped, and
# copies of tied tensors, which `= name` marks.
def frequencies(layers, width):
    return {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": [width // 2] for i in range(layers)}


UNREAD = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
FLAN = {UNREAD: [32, 12]} | {f"{side}.embed_tokens.weight": "shared.weight" for side in ["encoder", "decoder"]}
VISION = {"rename": [("vision_tower.", "vision_tower.vision_model.")]}
SPEECH = [(".parametrizations.weight.original0", ".weight_g"), (".parametrizations.weight.original1", ".weight_v")]
POSITIONS = "{}_model.embeddings.position_ids"

# name: class here, class of transformers, configuration, inputs, what the published file differs in
CHECKPOINTS = {
    "bert-base-uncased": (
        "bert", t.BertForMaskedLM, t.BertConfig(), {"input_ids": ids(128, 30522)},
        {"rename": [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")],
         "add": {"bert.pooler.dense.weight": [768, 768], "bert.pooler.dense.bias": [768],
                 "cls.seq_relationship.weight": [2, 768], "cls.seq_relationship.bias": [2]}},
    ),
    "t5-small": (
        "t5", t.T5ForConditionalGeneration, t.T5Config(),
        {"input_ids": ids(128, 32128), "decoder_input_ids": ids(16, 32128)},
        {"add": {UNREAD: [32, 8]}},
    ),
    "flan-t5-base": (
        "t5", t.T5ForConditionalGeneration,
        t.T5Config(d_model=768, d_ff=2048, num_layers=12, num_heads=12, feed_forward_proj="gated-gelu",
                   tie_word_embeddings=False),
        {"input_ids": ids(128, 32128), "decoder_input_ids": ids(16, 32128)},
        {"add": FLAN},
    ),
    "tinyllama-1.1b": (
        "llama", t.LlamaForCausalLM,
        llama(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
              num_key_value_heads=4, max_position_embeddings=2048),
        {"input_ids": ids(128, 32000)}, {},
    ),
    "llama-2-7b": (
        "llama", t.LlamaForCausalLM, llama(max_position_embeddings=4096),
        {"input_ids": ids(128, 32000)}, {"add": frequencies(32, 128)},
    ),
    "qwen2-0.5b": (
        "qwen2", t.Qwen2ForCausalLM,
        qwen2(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
              num_key_value_heads=2, max_window_layers=24, tie_word_embeddings=True),
        {"input_ids": ids(128, 151936)}, {},
    ),
    "qwen2-7b": (
        "qwen2", t.Qwen2ForCausalLM,
        qwen2(vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
              num_attention_heads=28, num_key_value_heads=4, max_window_layers=28),
        {"input_ids": ids(128, 152064)}, {},
    ),
    "whisper-tiny.en": (
        "whisper", t.WhisperForConditionalGeneration, whisper(384, 4, 6, 51864),
        {"input_features": normal(1, 80, 3000), "decoder_input_ids": ids(4, 51864)}, {},
    ),
    "whisper-base": (
        "whisper", t.WhisperForConditionalGeneration, whisper(512, 6, 8, 51865),
        {"input_features": normal(1, 80, 3000), "decoder_input_ids": ids(4, 51865)}, {},
    ),
    "wav2vec2-base-960h": (
        "wav2vec2", t.Wav2Vec2ForCTC, t.Wav2Vec2Config(),
        {"input_values": normal(1, 4 * 16000)}, {"rename": SPEECH},
    ),
    "clap-htsat-unfused": (
        "clap", t.ClapModel, t.ClapConfig(),
        {"input_ids": ids(64, 50265), "input_features": normal(1, 1, 1001, 64), "is_longer": runs((0, 1))}, {},
    ),
    "vit-base-patch16-224": (
        "vit", t.ViTForImageClassification, t.ViTConfig(num_labels=1000), {"pixel_values": image(224)}, {},
    ),
    # An image of 640 × 480 as DetrImageProcessor fits it.
    "detr-resnet-50": (
        "detr", t.DetrForObjectDetection, t.DetrConfig(num_labels=91),
        {"pixel_values": normal(1, 3, 800, 1066)}, {},
    ),
    "clip-vit-base-patch32": (
        "clip", t.CLIPModel, t.CLIPConfig(),
        {"input_ids": ids(77, 49408), "pixel_values": image(224)},
        {"add": {POSITIONS.format("text"): [1, 77], POSITIONS.format("vision"): [1, 50]}},
    ),
    "llava-1.5-7b": (
        "llava", t.LlavaForConditionalGeneration, t.LlavaConfig(text_config=VICUNA, **LLAVA),
        {"input_ids": runs((1, 1), (32000, 576), (319, 63)), "pixel_values": image(336)}, VISION,
    ),
    # An image of 640 × 480: the whole and four tiles, of whose 48 rows 36 are left, each with its end.
    "llava-v1.6-mistral-7b": (
        "llava_next", t.LlavaNextForConditionalGeneration, t.LlavaNextConfig(text_config=MISTRAL, **LLAVA),
        {"input_ids": runs((1, 1), (32000, 576 + 36 * 49), (319, 63)),
         "pixel_values": normal(1, 5, 3, 336, 336), "image_sizes": runs((480, 1), (640, 1))}, VISION,
    ),
    "xclip-base-patch32": (
        "xclip", t.XCLIPModel, t.XCLIPConfig(),
        {"input_ids": ids(77, 49408), "pixel_values": normal(1, 8, 3, 224, 224)},
        {"add": {POSITIONS.format("text"): [1, 77], POSITIONS.format("vision"): [1, 50]}},
    ),
}


def tensors(model, as_saved):
    """Shapes by name, tied copies left out as `save_pretrained` leaves them out."""
    state = {name: tensor for name, tensor in model.state_dict().items()
             if name not in model.all_tied_weights_keys}
    if as_saved:
        state = revert_weight_conversion(model, state)
    return {name: list(tensor.shape) for name, tensor in state.items()}


def published(model, rename=(), add=None):
    shapes = tensors(model, as_saved=True)
    for new, old in rename:
        shapes = {name.replace(new, old): shape for name, shape in shapes.items()}
    assert not set(shapes) & set(add or {}), "it is there already"
    return shapes | (add or {})


def collapse(lines):
    """Lines that differ in one number alone become one, as long as the numbers follow one another."""
    lines = [(name.split("."), rest) for name, rest in lines]
    for place in range(max(len(parts) for parts, _ in lines)):
        groups = {}
        for parts, rest in lines:
            number = int(parts[place]) if place < len(parts) and parts[place].isdigit() else None
            # What is no number stays as it is, alone in its group.
            part = None if number is not None else ".".join(parts)
            key = tuple(parts[:place]), tuple(parts[place + 1 :]), part, rest
            groups.setdefault(key, []).append(number)
        lines = []
        for (before, after, whole, rest), numbers in groups.items():
            if whole is not None:
                lines.append((whole.split("."), rest))
                continue
            for first, last in spans(sorted(numbers)):
                number = str(first) if first == last else "{%d..%d}" % (first, last)
                lines.append(([*before, number, *after], rest))
    return [(".".join(parts), rest) for parts, rest in lines]


def spans(numbers):
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last


def write_list(path, shapes):
    line = lambda shape: f"= {shape}" if isinstance(shape, str) else " ".join(map(str, shape))
    lines = collapse([(name, line(shape)) for name, shape in shapes.items()])
    path.write_text("".join(f"{name} {rest}".rstrip() + "\n" for name, rest in lines))


def write_json(path, value):
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    # Lists of numbers on one line read better.
    text = re.sub(r"\[[-\d\s,.]+\]", lambda m: re.sub(r"\s+", " ", m[0]).replace("[ ", "[").replace(" ]", "]"), text)
    path.write_text(text + "\n")


for name, (kind, model_class, config, inputs, differences) in CHECKPOINTS.items():
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    config.architectures = [model_class.__name__]
    with torch.device("meta"):
        model = model_class(config)
    fields = config.to_diff_dict()
    labels = fields.pop("id2label", None)
    fields.pop("label2id", None)
    if labels:
        # A thousand names of labels say no more than their number.
        fields["num_labels"] = len(labels)
    write_json(folder / "config.json", fields | {"architectures": config.architectures})
    old, new = published(model, **differences), tensors(model, as_saved=False)
    write_list(folder / "tensors.txt", old)
    if old != new:
        write_list(folder / "tensors.transformers5.txt", new)
    case = {"class": kind, "weights": {"tensors": "tensors.txt", "seed": SEED}, "inputs": inputs}
    write_json(folder / "case.json", case)
    print(f"{name}: {len(old)} tensors, {sum(torch.Size(s).numel() for s in new.values()):,} weights")
