"""Writes fixtures/bundled: tensors that the real diffusers computes from the exported model. Tests compare the browser with them.

    python references.py ../public/models/aquatint-emoji

The format is that of fixtures/README.md, without a copy of the repository: each case names it in `repo`, relative to its folder.
The weights are fp16 and diffusers computes in float32, which is what the wasm backend does too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from denoiser import STEPS
from data import SIZE
from export import load_pipeline

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
sys.path.insert(0, str(FIXTURES))

from generator.capture import Case, run_case  # noqa: E402  (the fixtures' own recorder, found by the path above)

RUNS = (
    ("a red apple on a blue background", None, 0, 1.0, STEPS),
    ("rocket", None, 1, 1.0, STEPS),
    ("sad cat, yellow background", None, 2, 1.0, STEPS),
    ("a flimmering wuzzle on a green background", None, 3, 1.0, STEPS),
    ("a cute penguin on a pink background", "", 4, 2.0, STEPS),
    # Only two steps, for software GPUs, where a step takes seconds.
    ("a red apple on a blue background", None, 0, 1.0, 2),
)
"""Prompt, negative prompt, seed, guidance scale, steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    args = parser.parse_args()
    folder = FIXTURES / "bundled"
    folder.mkdir(exist_ok=True)
    where = os.path.relpath(args.repository.resolve(), folder)
    cases = []
    for k, (prompt, negative, seed, guidance, steps) in enumerate(RUNS):
        case = Case(
            pipeline="StableDiffusionXLPipeline",
            prompt=prompt,
            negative_prompt=negative,
            seed=seed,
            num_inference_steps=steps,
            guidance_scale=guidance,
            height=SIZE,
            width=SIZE,
            dtype="float16",
        )
        tensors = run_case(load_pipeline(args.repository), case)
        # The first and the last pass of the loop are enough; the others would only make the files larger.
        between = [f"{name}_{i}" for name in ("noise_pred", "latents") for i in range(1, steps - 1)]
        save_file({n: t for n, t in tensors.items() if n not in between}, folder / f"reference-{k}.safetensors")
        cases.append({"repo": where, **case.to_json()})
    (folder / "case.json").write_text(json.dumps(cases, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"{len(cases)} cases in {folder.name}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
