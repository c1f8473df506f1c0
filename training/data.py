"""The pictures: emoji glyphs from a free font, placed on flat background colours.

captions.py has the captions. A subject is rendered once from the font's bitmaps; `compose` then puts
it, a little moved, turned, scaled and perhaps mirrored, on a colour. The result depends only on the given random state.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 128
"""Side of a training picture in pixels."""

FONT = Path(os.environ.get("NOTO_EMOJI", "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"))
"""Noto Color Emoji (SIL OFL 1.1), the CBDT build with 136x128 bitmaps, as Debian packages it."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "black": (24, 26, 30),
    "red": (206, 44, 64),
    "yellow": (255, 230, 110),
    "green": (110, 200, 120),
    "blue": (90, 158, 250),
    "purple": (140, 92, 226),
    "pink": (255, 150, 196),
}
"""Background colours by name, sRGB. A prompt that names none gets white."""


@dataclass(frozen=True)
class Subject:
    """A subject: its character, its name, and other words for it."""

    emoji: str
    name: str
    aliases: tuple[str, ...]


def read_subjects(limit: int | None = None) -> list[Subject]:
    """The subjects of subjects.tsv, in file order; with a limit, that many spread evenly over the file."""
    subjects = []
    for line in (Path(__file__).parent / "subjects.tsv").read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        emoji, _points, name, aliases = line.split("\t")
        subjects.append(Subject(emoji, name, tuple(a for a in aliases.split("|") if a)))
    if limit is not None and limit < len(subjects):
        subjects = [subjects[i * len(subjects) // limit] for i in range(limit)]
    return subjects


def render_glyph(emoji: str) -> Image.Image:
    """The font's own bitmap of one emoji: 136x128 RGBA, straight alpha."""
    font = ImageFont.truetype(str(FONT), 109)
    canvas = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((0, 0), emoji, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"{FONT} has no glyph for {emoji!r}")
    # Centre the painted part in a square: the bitmaps' own margins differ between glyphs.
    glyph = canvas.crop(box)
    side = max(128, *glyph.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
    return square


@dataclass(frozen=True)
class Placement:
    """How a glyph lies on the canvas: side of the glyph's square relative to the canvas, shift in pixels, turn in degrees."""

    scale: float = 0.85
    dx: float = 0.0
    dy: float = 0.0
    angle: float = 0.0
    mirrored: bool = False


def random_placement(rng: np.random.Generator) -> Placement:
    """The variation between seeds: small, so that the subject stays recognizable."""
    return Placement(
        scale=rng.uniform(0.82, 0.88),
        dx=rng.uniform(-2, 2),
        dy=rng.uniform(-2, 2),
        angle=rng.uniform(-3, 3),
        mirrored=bool(rng.random() < 0.5),
    )


def place(glyph: Image.Image, placement: Placement, size: int = SIZE) -> np.ndarray:
    """The glyph on a transparent canvas: [size, size, 4] float32 in 0..1, alpha premultiplied."""
    factor = size / SIZE
    side = glyph.width / (placement.scale * SIZE * factor)
    turn = np.deg2rad(placement.angle)
    cos, sin = np.cos(turn) * side, np.sin(turn) * side
    flip = -1.0 if placement.mirrored else 1.0
    cx, cy = size / 2 + placement.dx * factor, size / 2 + placement.dy * factor
    half = glyph.width / 2
    # PIL maps output pixels to input pixels: x_in = a x + b y + c.
    a, b, d, e = flip * cos, flip * sin, -sin, cos
    matrix = (a, b, half - a * cx - b * cy, d, e, half - d * cx - e * cy)
    source = glyph.convert("RGBa")
    if side > 1.3:
        # Bicubic sampling aliases when it shrinks: draw at twice the size and average.
        matrix = tuple(v / 2 if i % 3 != 2 else v for i, v in enumerate(matrix))
        large = source.transform((size * 2, size * 2), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
        pixels = np.asarray(large, np.float32).reshape(size, 2, size, 2, 4).mean((1, 3)) / 255
    else:
        drawn = source.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
        pixels = np.asarray(drawn, np.float32) / 255
    return pixels


def on_colour(placed: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A placed glyph over a flat colour: [size, size, 3] float32 in 0..1."""
    background = np.asarray(colour, np.float32) / 255
    return np.clip(placed[..., :3] + (1 - placed[..., 3:]) * background, 0, 1)


class Pictures:
    """All subjects' glyphs, ready to be composed."""

    def __init__(self, subjects: list[Subject]):
        self.subjects = subjects
        self.glyphs = [render_glyph(s.emoji) for s in subjects]
        self.colours = list(COLOURS.values())

    def compose(self, subject: int, colour: int, placement: Placement, size: int = SIZE) -> np.ndarray:
        """One picture: [size, size, 3] float32 in 0..1."""
        return on_colour(place(self.glyphs[subject], placement, size), self.colours[colour])

    def placed_pool(self, rng: np.random.Generator, count: int, size: int = SIZE) -> np.ndarray:
        """`count` random placements of each subject: [subjects, count, size, size, 4] uint8, premultiplied."""
        pool = np.empty((len(self.glyphs), count, size, size, 4), np.uint8)
        for i, glyph in enumerate(self.glyphs):
            for k in range(count):
                pool[i, k] = (place(glyph, random_placement(rng), size) * 255).round().astype(np.uint8)
        return pool


def contact_sheet(pictures: np.ndarray, columns: int) -> Image.Image:
    """[n, h, w, 3] in 0..1 tiled row by row, for inspection."""
    n, h, w, _ = pictures.shape
    rows = -(-n // columns)
    sheet = np.ones((rows * (h + 2), columns * (w + 2), 3), np.float32)
    for i, picture in enumerate(pictures):
        y, x = (i // columns) * (h + 2), (i % columns) * (w + 2)
        sheet[y : y + h, x : x + w] = picture
    return Image.fromarray((sheet * 255).round().clip(0, 255).astype(np.uint8))
