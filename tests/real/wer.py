"""Word error rates of Whisper tiny.en on the sentences of sentences.txt, spoken by espeak-ng.

    ENV/bin/python tests/real/wer.py MODEL [--browsers chrome firefox] [--backends wasm] [--bits 16 8 4]

MODEL is the folder that `harness models fetch whisper-tiny.en` makes; ENV as for make_real.py. The
first row is transformers on the same weights and the same sound files.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

import torch
from scipy.io import wavfile
from speech import sentences, speak, write_wav
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

ROOT = Path(__file__).parents[2]


def words(text):
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def errors(wanted, heard):
    """Words to change, insert or leave out (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(wanted, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            last, row[j] = row[j], min(last + (a != b), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def reference(model, files):
    """What transformers hears: tokens and texts."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    whisper = WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    extract = WhisperFeatureExtractor.from_pretrained(model)
    texts = []
    for file in files:
        rate, samples = wavfile.read(file)
        features = extract(samples / 32768, sampling_rate=rate, return_tensors="pt").input_features
        ids = whisper.generate(features, do_sample=False, max_new_tokens=128)[0]
        texts.append(tokenizer.decode(ids, skip_special_tokens=True))
    return texts


def heard(model, files, browser, backend, bits):
    """What the engine hears in a page: one session, a text for each file."""
    command = ["cargo", "harness", "--json", "--quiet", "infer", "--model", model, "--input", *files]
    command += ["--browser", browser, "--backend", backend, "--bits", bits, "--timeout", "3000"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    answer = json.loads(run.stdout.splitlines()[-1])
    return [finding["text"] for finding in answer["findings"]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--browsers", nargs="+", default=["chrome", "firefox"])
    parser.add_argument("--backends", nargs="+", default=["wasm"])
    parser.add_argument("--bits", nargs="+", default=["16", "8", "4"])
    options = parser.parse_args()
    wanted = sentences()
    total = sum(len(words(text)) for text in wanted)
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder, f"{i}.wav")) for i in range(len(wanted))]
        for file, text in zip(files, wanted):
            write_wav(file, speak(text))
        texts = reference(options.model, files)

        def row(name, got):
            wrong = sum(errors(words(a), words(b)) for a, b in zip(wanted, got))
            same = sum(a == b for a, b in zip(texts, got))
            print(f"{name:24} {wrong / total:6.1%} words wrong, {same} of {len(wanted)} texts equal", flush=True)
            return got

        for text in row("transformers f32", texts):
            print(f"    {text}")
        for browser in options.browsers:
            for backend in options.backends:
                for bits in options.bits:
                    got = heard(options.model, files, browser, backend, bits)
                    for a, b in zip(texts, row(f"{browser} {backend} {bits}-bit", got)):
                        if a != b:
                            print(f"    {b}")


if __name__ == "__main__":
    main()
