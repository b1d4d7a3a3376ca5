"""The sentences of sentences.txt, spoken by espeak-ng at the 16 kHz that Whisper hears.

    ENV/bin/python tests/real/speech.py FOLDER [--count 100]

speaks those of evaluation.txt into FOLDER, with a text beside each, for `harness evaluate --input FOLDER`. It wants
espeak-ng on the path, and numpy and scipy in ENV.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy
from scipy.io import wavfile
from scipy.signal import resample_poly

SENTENCES = Path(__file__).with_name("sentences.txt")


EVALUATION = SENTENCES.with_name("evaluation.txt")


def sentences(file=SENTENCES):
    return file.read_text().splitlines()


def speak(text, rate=16_000):
    """Samples of a sentence within ±1; espeak-ng itself speaks at 22,050 Hz."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["espeak-ng", "-v", "en-us+f3", "-s", "140", "-w", file.name, text], check=True)
        spoken, samples = wavfile.read(file.name)
    samples = samples.astype(numpy.float32) / 32768
    return resample_poly(samples, rate, spoken).astype(numpy.float32) if rate != spoken else samples


def write_wav(path, samples, rate=16_000):
    wavfile.write(path, rate, numpy.round(samples * 32767).clip(-32768, 32767).astype(numpy.int16))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0, help="sentences that are passed over")
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    wanted = sentences(EVALUATION)[options.first : options.first + options.count]
    for at, text in enumerate(wanted, options.first + 1):
        write_wav(options.folder / f"{at:03}.wav", speak(text))
        (options.folder / f"{at:03}.txt").write_text(text + "\n")


if __name__ == "__main__":
    main()
