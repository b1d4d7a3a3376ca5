"""The sentences of sentences.txt, spoken by espeak-ng at the 16 kHz that Whisper hears."""

import subprocess
import tempfile
from pathlib import Path

import numpy
from scipy.io import wavfile
from scipy.signal import resample_poly

SENTENCES = Path(__file__).with_name("sentences.txt")


def sentences():
    return SENTENCES.read_text().splitlines()


def speak(text, rate=16_000):
    """Samples of a sentence within ±1; espeak-ng itself speaks at 22,050 Hz."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["espeak-ng", "-v", "en-us+f3", "-s", "140", "-w", file.name, text], check=True)
        spoken, samples = wavfile.read(file.name)
    samples = samples.astype(numpy.float32) / 32768
    return resample_poly(samples, rate, spoken).astype(numpy.float32) if rate != spoken else samples


def write_wav(path, samples, rate=16_000):
    wavfile.write(path, rate, numpy.round(samples * 32767).clip(-32768, 32767).astype(numpy.int16))
