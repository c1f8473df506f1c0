"""Measures the exported model with the real diffusers, and writes the data with which the browser can do the same.

    python evaluate.py ../public/models/aquatint-emoji [--steps 10] [--guidance 2.5] [--dtype float32] [--write]

The distance. A picture is averaged over 4x4 blocks to 32x32 and compared with every training picture at its resting
placement (every subject, on every background colour, plain and mirrored): mean squared error of sRGB values in 0..1, the
least over shifts of the picture by -1, 0 or 1 thumbnail pixels each way (edges repeated). Top 1 is right if the nearest one
shows the named subject. The background is the palette colour nearest to the median of the four 6x6 corners.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
from pathlib import Path

import numpy as np
import torch

from captions import article
from data import COLOURS, SIZE, Placement, Pictures, contact_sheet, place, read_subjects
from export import folder_size, load_pipeline

THUMB = 32
CORNER = 6
NAMES = list(COLOURS)
STYLES = ("{a} on a {c} background", "{n}, {c} background", "{n} on {c}", "a picture of {a} on a {c} background", "{c} background, {n}")
UNKNOWN = (
    "qzorvak", "a flimmering wuzzle", "xyzzy 42", "brontel on a blue background", "grunkle, yellow background",
    "my neighbour's philosophy", "quarterly revenue", "vlop vlop vlop", "a snorp on a green background", "zzz 999",
    "justice, red background", "an unbelievable contraption", "ploof, pink background", "1234567", "Weltschmerz", "?!",
)


def prompts() -> list[dict]:
    """Every subject once, colours and phrasings in turn; then bare names and aliases: [{prompt, subject, colour, seed}]."""
    subjects = read_subjects()
    cases = []
    for i, s in enumerate(subjects):
        colour = NAMES[(3 * i + 1) % len(NAMES)]
        text = STYLES[i % len(STYLES)].format(a=article(s.name), n=s.name, c=colour)
        cases.append({"prompt": text, "subject": i, "colour": colour, "seed": 1000 + i})
    for i in range(4, len(subjects), 9):
        cases.append({"prompt": subjects[i].name, "subject": i, "colour": "white", "seed": 2000 + i})
    for i, s in enumerate(subjects):
        if s.aliases and i % 5 == 0:
            colour = NAMES[(5 * i + 2) % len(NAMES)]
            text = f"{article(s.aliases[0])} on a {colour} background"
            cases.append({"prompt": text, "subject": i, "colour": colour, "seed": 3000 + i})
    return cases


def thumbnail(pictures: np.ndarray) -> np.ndarray:
    """[n, 128, 128, c] to [n, 32, 32, c] by averaging."""
    n, _, _, c = pictures.shape
    block = SIZE // THUMB
    return pictures.reshape(n, THUMB, block, THUMB, block, c).mean((2, 4))


def reference_thumbnails() -> np.ndarray:
    """Subjects at their resting placement: [subjects, 32, 32, 4] uint8, alpha premultiplied."""
    glyphs = Pictures(read_subjects()).glyphs
    return (thumbnail(np.stack([place(g, Placement()) for g in glyphs])) * 255).round().astype(np.uint8)


class Judge:
    """Names the nearest training picture and the background colour."""

    def __init__(self, thumbnails: np.ndarray):
        placed = thumbnails.astype(np.float32) / 255
        placed = np.concatenate([placed, placed[:, :, ::-1]])
        palette = np.asarray(list(COLOURS.values()), np.float32) / 255
        composed = placed[:, None, ..., :3] + (1 - placed[:, None, ..., 3:]) * palette[:, None, None, :]
        self.subjects = len(thumbnails)
        self.references = composed.reshape(len(placed) * len(palette), -1)
        self.squares = (self.references**2).sum(1)
        self.palette = palette

    def nearest(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For [n, 128, 128, 3]: the nearest subject's index, and its distance."""
        small = thumbnail(pictures)
        padded = np.pad(small, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        best = np.full((len(small), len(self.references)), np.inf, np.float32)
        for dy in range(3):
            for dx in range(3):
                moved = padded[:, dy : dy + THUMB, dx : dx + THUMB].reshape(len(small), -1)
                squared = (moved**2).sum(1)[:, None] - 2 * moved @ self.references.T + self.squares
                best = np.minimum(best, squared / moved.shape[1])
        which = best.argmin(1)
        return (which // len(COLOURS)) % self.subjects, best[np.arange(len(best)), which]

    def background(self, pictures: np.ndarray) -> list[str]:
        """The palette's name for each picture's corners."""
        c = CORNER
        corners = [pictures[:, y, x].reshape(len(pictures), -1, 3) for y in (slice(0, c), slice(-c, None)) for x in (slice(0, c), slice(-c, None))]
        middle = np.median(np.concatenate(corners, 1), 1)
        return [NAMES[i] for i in ((middle[:, None] - self.palette) ** 2).sum(-1).argmin(1)]


def draw(pipeline, cases: list[dict], steps: int, guidance: float, batch: int = 16) -> np.ndarray:
    """Pictures for cases, [n, 128, 128, 3] in 0..1; each case has its own generator, so the result does not depend on the other cases."""
    pictures = []
    for k in range(0, len(cases), batch):
        part = cases[k : k + batch]
        generators = [torch.Generator("cpu").manual_seed(c["seed"]) for c in part]
        output = pipeline(
            [c["prompt"] for c in part], num_inference_steps=steps, guidance_scale=guidance, generator=generators, output_type="np"
        )
        pictures.append(output.images.astype(np.float32))
    return np.concatenate(pictures)


def evaluate(pipeline, steps: int, guidance: float, sheets: Path | None) -> dict:
    """All measurements, as a dict for JSON."""
    subjects, judge = read_subjects(), Judge(reference_thumbnails())
    cases = prompts()
    pictures = draw(pipeline, cases, steps, guidance)
    nearest, distances = judge.nearest(pictures)
    backgrounds = judge.background(pictures)
    wanted = np.array([c["subject"] for c in cases])
    wrong = [
        {"prompt": c["prompt"], "seed": c["seed"], "nearest": subjects[n].name, "background": b}
        for c, n, b in zip(cases, nearest, backgrounds)
        if n != c["subject"] or b != c["colour"]
    ]
    seeds = [{"prompt": c["prompt"], "seed": s} for c in cases[:: len(cases) // 20][:20] for s in range(4)]
    varied = draw(pipeline, seeds, steps, guidance).reshape(-1, 4, SIZE, SIZE, 3)
    pairs = [
        float(np.sqrt(((group[a] - group[b]) ** 2).mean())) for group in varied for a in range(4) for b in range(a)
    ]
    strange = [{"prompt": p, "seed": 7} for p in UNKNOWN]
    unknown = draw(pipeline, strange, steps, guidance)
    _, unknown_distances = judge.nearest(unknown)
    limit = float(np.quantile(distances, 0.95))
    named = [(c, b) for c, b in zip(UNKNOWN, judge.background(unknown)) if "background" in c]
    if sheets is not None:
        contact_sheet(pictures, 20).save(sheets / "evaluation.png")
        contact_sheet(np.concatenate([varied[:10].reshape(-1, SIZE, SIZE, 3), unknown]), 8).save(sheets / "seeds.png")
    return {
        "steps": steps,
        "guidance_scale": guidance,
        "prompts": len(cases),
        "subjects": len(subjects),
        "top1": round(float((nearest == wanted).mean()), 4),
        "background": round(float(np.mean([b == c["colour"] for b, c in zip(backgrounds, cases)])), 4),
        "median_distance": round(float(np.median(distances)), 5),
        "seed_pairs": len(pairs),
        "seed_rmse_median": round(float(np.median(pairs)), 4),
        "seed_rmse_least": round(min(pairs), 4),
        "unknown_prompts": len(UNKNOWN),
        "unknown_as_near_as_known": round(float((unknown_distances <= limit).mean()), 4),
        "unknown_background": f"{sum(b in c for c, b in named)}/{len(named)}",
        "wrong": wrong,
    }


def browser_data() -> dict:
    """The data with which a test in the browser judges the same prompts by the same distance."""
    thumbnails = reference_thumbnails()
    packed = gzip.compress(thumbnails.tobytes(), 9, mtime=0)
    return {
        "about": "Written by training/evaluate.py, whose opening comment states the distance.",
        "palette": {name: list(rgb) for name, rgb in COLOURS.items()},
        "corner": CORNER,
        "subjects": [s.name for s in read_subjects()],
        "prompts": prompts(),
        "thumbnails": {
            "shape": list(thumbnails.shape),
            "encoding": "base64 of gzip of uint8 RGBA, premultiplied",
            "data": base64.b64encode(packed).decode(),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=2.5)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="what the fp16 weights are computed in")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets to look at")
    parser.add_argument("--write", action="store_true", help="write evaluation.json and e2e/data/bundled-model-eval.json")
    args = parser.parse_args()
    pipeline = load_pipeline(args.repository, getattr(torch, args.dtype))
    if args.sheets is not None:
        args.sheets.mkdir(parents=True, exist_ok=True)
    result = evaluate(pipeline, args.steps, args.guidance, args.sheets)
    result = {"repository": args.repository.name, "bytes": folder_size(args.repository), "dtype": args.dtype, **result}
    print(json.dumps(result, indent=2))
    print("\n| measure | value |\n| --- | --- |")
    for key, value in result.items():
        if key != "wrong":
            print(f"| {key} | {value} |")
    if args.write:
        root = Path(__file__).parent
        (root / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        target = root.parent / "e2e" / "data" / "bundled-model-eval.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(browser_data()) + "\n", "utf-8")


if __name__ == "__main__":
    main()
