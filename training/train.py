"""One command from a font to a diffusers repository: pictures, autoencoder, latents, denoiser, decoder, export.

    python train.py [--vae-minutes 20] [--denoiser-minutes 60] [--decoder-minutes 10] [--out out] [--export ../public/models/aquatint-emoji]

Every stage keeps a checkpoint in --out and resumes from it, so the command can be stopped and repeated at any time. A
stage whose minutes are used up is only loaded. Give more minutes to continue training. --subjects 10 with a minute each is a dry run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from captions import caption_words
from data import Pictures, read_subjects
from denoiser import compute_latents, train_denoiser
from export import export, folder_size, load_tokenizers, write_tokenizers
from tokens import learn_merges
from vae import refine_decoder, train_vae

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae-minutes", type=float, default=20)
    parser.add_argument("--denoiser-minutes", type=float, default=60)
    parser.add_argument("--decoder-minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "out", help="checkpoints and sheets to look at")
    parser.add_argument("--export", type=Path, help="write the repository here at the end")
    parser.add_argument("--subjects", type=int, help="only so many subjects")
    parser.add_argument("--placements", type=int, default=2, help="latents per subject and colour")
    parser.add_argument("--merges", type=int, default=1300, help="byte-pair merges in the vocabulary, at most")
    parser.add_argument("--name-steps", type=int, default=500, help="steps of the text encoders alone, before all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop-after", choices=("vae", "latents", "denoiser"))
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    subjects = read_subjects(args.subjects)
    pictures = Pictures(subjects)
    merges = learn_merges(caption_words(read_subjects()), args.merges)
    write_tokenizers(args.out, merges)

    vae = train_vae(pictures, args.out, args.vae_minutes, args.seed)
    if args.stop_after == "vae":
        return
    latents = compute_latents(vae, pictures, args.placements, args.out / "latents.pt", args.seed)
    if args.stop_after == "latents":
        return
    model = train_denoiser(
        pictures, latents, vae, load_tokenizers(args.out), args.out, args.denoiser_minutes, args.seed, name_steps=args.name_steps
    )
    refine_decoder(vae, pictures, args.out, args.decoder_minutes, args.seed)
    if args.export is not None:
        export(model, vae, merges, args.export)
        print(f"{args.export}: {folder_size(args.export) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
