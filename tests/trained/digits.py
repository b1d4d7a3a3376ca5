"""Spoken digits, by espeak-ng in many voices, at 4 kHz."""

import subprocess

import numpy
import torch
from scipy.signal import resample_poly

WORDS = "zero one two three four five six seven eight nine".split()
RATE, SPOKEN = 4000, 22050
SPEAKERS = "m1 m3 m5 m7 f1 f2 f4".split()
VOICES = [f"en-{accent}+{speaker}" for accent in ("us", "gb") for speaker in SPEAKERS]
# Words a minute and pitch; the last of them is held out.
MANNERS = [(150, 35), (190, 50), (170, 65), (165, 45)]


def spoken(word, voice, speed, pitch):
    """One word without the silence around it, from -1 to 1."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word]
    sound = subprocess.run(command, check=True, capture_output=True).stdout
    # Behind a header of 44 bytes, which does not know how long the sound is.
    samples = resample_poly(numpy.frombuffer(sound[44:], numpy.int16) / 32768, RATE, SPOKEN)
    loud = numpy.flatnonzero(numpy.abs(samples) > 0.02 * numpy.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1]
    return torch.tensor(samples / numpy.abs(samples).max(), dtype=torch.float32)


def corpus(manners):
    """Recordings of each digit in all voices."""
    return [[spoken(word, voice, *how) for voice in VOICES for how in manners] for word in WORDS]


def training():
    return corpus(MANNERS[:-1])


def held_out():
    return corpus(MANNERS[-1:])


def recording(generator, recordings, digits, length, noise=0.02):
    """A recording `[length]` of these digits, one after another, at some loudness, with noise."""
    draw = lambda below: int(torch.randint(below, (1,), generator=generator))
    parts = []
    for digit in digits:
        pause = torch.zeros(draw(RATE // 20) + RATE // 50)
        parts += [pause, recordings[digit][draw(len(recordings[digit]))]]
    sound = torch.cat(parts)[:length]
    sound = torch.nn.functional.pad(sound, (0, length - len(sound)))
    loudness = 0.4 + 0.5 * torch.rand(1, generator=generator)
    return loudness * sound + noise * torch.randn(length, generator=generator)
