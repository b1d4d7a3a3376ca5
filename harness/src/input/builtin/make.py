"""Draws the pictures and frames beside it and lets espeak-ng speak.

    python3 -m venv ENV && ENV/bin/pip install numpy pillow
    ENV/bin/python harness/src/input/builtin/make.py
"""

import subprocess
import tempfile
import wave
from pathlib import Path

import numpy
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
RATE = 16_000


def field(size, seed):
    """Sky over grass, with the grain that photographs have."""
    width, height = size
    image = Image.new("RGB", size, (110, 170, 230))
    ImageDraw.Draw(image).rectangle((0, height * 3 // 5, width, height), fill=(60, 140, 60))
    noise = numpy.random.default_rng(seed).normal(0, 6, (height, width, 1))
    return Image.fromarray((numpy.asarray(image) + noise).clip(0, 255).astype(numpy.uint8))


def ball(size, x, seed):
    image = field(size, seed)
    r = size[1] // 6
    y = size[1] * 3 // 5
    draw = ImageDraw.Draw(image)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(205, 40, 35))
    draw.ellipse((x - r // 2, y - r // 2 - r // 4, x - r // 6, y - r // 4), fill=(240, 150, 140))
    return image


def house(size):
    image = field(size, 7)
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 15, 60, 55), fill=(250, 225, 90))
    draw.rectangle((110, 85, 210, 165), fill=(50, 80, 170))
    draw.polygon([(100, 85), (160, 40), (220, 85)], fill=(120, 60, 50))
    draw.rectangle((148, 120, 172, 165), fill=(90, 60, 40))
    for x in (122, 182):
        draw.rectangle((x, 98, x + 16, 114), fill=(230, 235, 240))
    return image


def speech():
    """A second of `small models speak`, at the 16 kHz that every class here hears."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        words = ["-v", "en-us+f3", "-s", "170", "-w", file.name, "small models speak"]
        subprocess.run(["espeak-ng", *words], check=True)
        with wave.open(file.name) as spoken:
            rate = spoken.getframerate()
            samples = numpy.frombuffer(spoken.readframes(spoken.getnframes()), numpy.int16)
    at = numpy.arange(RATE) * rate / RATE
    samples = numpy.interp(at, numpy.arange(len(samples)), samples, right=0)
    with wave.open(str(HERE / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.round().astype("<i2").tobytes())


def main():
    save = {"quality": 80, "optimize": True}
    ball((320, 240), 170, 1).save(HERE / "ball.jpg", **save)
    house((320, 240)).save(HERE / "house.jpg", **save)
    for i in range(8):
        ball((160, 120), 15 + 18 * i, 20 + i).save(HERE / f"frame-{i + 1}.jpg", **save)
    speech()


if __name__ == "__main__":
    main()
