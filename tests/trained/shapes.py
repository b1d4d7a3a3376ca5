"""Draws shapes: eight of them, turned, of any size and colour, anywhere, with soft edges."""

import math

import torch

SHAPES = ["disc", "square", "triangle", "cross", "ring", "bar", "half", "corner"]
COLOURS = {
    "red": (0.9, -0.7, -0.7), "green": (-0.7, 0.7, -0.7), "blue": (-0.7, -0.6, 0.9),
    "yellow": (0.9, 0.8, -0.7), "white": (0.9, 0.9, 0.9), "purple": (0.6, -0.7, 0.7),
}


def uniform(generator, low, high, *shape):
    return low + (high - low) * torch.rand(shape, generator=generator)


def insides(u, v):
    """How far each point is inside each shape of radius 1, shapes last."""
    length = (u * u + v * v).sqrt()

    def box(x, y, width, height):
        return torch.minimum(width - (u - x).abs(), height - (v - y).abs())

    sides = [
        0.5 - (u * math.cos(turn) + v * math.sin(turn))
        for turn in (math.pi / 2, math.pi * 7 / 6, math.pi * 11 / 6)
    ]
    return torch.stack(
        [
            0.9 - length,
            box(0, 0, 0.75, 0.75),
            torch.stack(sides).amin(0),
            torch.maximum(box(0, 0, 0.25, 0.95), box(0, 0, 0.95, 0.25)),
            0.22 - (length - 0.72).abs(),
            box(0, 0, 0.3, 0.95),
            torch.minimum(0.95 - length, u + 0.3),
            torch.maximum(box(-0.5, 0, 0.25, 0.8), box(0, -0.55, 0.75, 0.25)),
        ],
        -1,
    )


def masks(shape, x, y, radius, turn, side):
    """How much of each pixel a shape covers `[n, side, side]`; shapes are given by number."""
    line = torch.arange(side) + 0.5
    dx, dy = line[None, None, :] - x[:, None, None], line[None, :, None] - y[:, None, None]
    cos, sin, radius = (it[:, None, None] for it in (turn.cos(), turn.sin(), radius))
    u, v = (dx * cos + dy * sin) / radius, (dy * cos - dx * sin) / radius
    inside = insides(u, v).gather(-1, shape[:, None, None, None].expand(*u.shape, 1))[..., 0]
    return (inside * radius + 0.5).clamp(0, 1)


def painted(image, mask, colour):
    """Images `[n, channels, side, side]` with a shape of colour `[n, channels]` on them."""
    mask = mask[:, None]
    return image * (1 - mask) + colour[:, :, None, None] * mask


def colours(generator, which):
    """Colours `[n, 3]` by number, each a little different."""
    table = torch.tensor(list(COLOURS.values()))
    return table[which] + uniform(generator, -0.12, 0.12, len(which), 3)


def ground(generator, count, channels, side, noise):
    """Dark images with noise."""
    dark = uniform(generator, -0.9, -0.4, count, channels, 1, 1)
    return dark + noise * torch.randn((count, channels, side, side), generator=generator)
