"""The autoencoder: diffusers' AutoencoderKL, eight times smaller on a side, trained on the pictures alone.

It is trained first at half size, where a step costs a quarter and every pixel carries more detail, then at full size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from data import COLOURS, SIZE, Pictures, contact_sheet, random_placement
from loop import Loss, Training
from optim import Ema, Optimisers

KL_WEIGHT = 2e-4
"""The weight of the mean divergence per latent element: large enough to keep the latents near unit size and the posterior a little wide."""


def make_vae(channels: tuple[int, ...] = (16, 32, 64, 128), latent_channels: int = 4) -> AutoencoderKL:
    """An untrained autoencoder in SDXL's form."""
    levels = len(channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=channels,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=latent_channels,
        sample_size=SIZE,
        force_upcast=False,
    )


def _batch(pool: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Random placed glyphs on random colours: [count, 3, size, size] in -1..1."""
    subjects, placements = pool.shape[:2]
    which = torch.randint(subjects, (count,), generator=generator)
    how = torch.randint(placements, (count,), generator=generator)
    placed = pool[which, how].float() / 255
    palette = torch.tensor(list(COLOURS.values())).float() / 255
    colours = palette[torch.randint(len(palette), (count,), generator=generator)]
    pictures = placed[..., :3] + (1 - placed[..., 3:]) * colours[:, None, None, :]
    # A permuted view of [n, h, w, c] is already in the channels-last layout.
    return pictures.clamp(0, 1).permute(0, 3, 1, 2) * 2 - 1


def _loss(vae: AutoencoderKL, pictures: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture loss of a random draw from the posterior, and the divergence; and the L1 alone, for reports."""
    mean, log_variance = vae.quant_conv(vae.encoder(pictures)).chunk(2, 1)
    log_variance = log_variance.clamp(-12, 4)
    latents = mean + (0.5 * log_variance).exp() * noise
    decoded = vae.decoder(vae.post_quant_conv(latents))
    loss, l1 = _picture_loss(decoded - pictures)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return loss + KL_WEIGHT * kl, l1


def _picture_loss(error: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """L1 of the pixels, of their differences and of their 4x4 means; and the L1 of the pixels alone."""
    l1 = error.abs().mean()
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    coarse = F.avg_pool2d(error, 4).abs().mean()
    return l1 + 0.5 * edges + coarse, l1


def train_vae(
    pictures: Pictures, out: Path, minutes: float, seed: int, lr: float = 1e-3, muon_lr: float = 4e-3
) -> AutoencoderKL:
    """Trains the whole autoencoder, resuming from out/vae.pt."""
    torch.manual_seed(seed)
    vae = make_vae().to(memory_format=torch.channels_last)
    training = Training("vae", vae, Optimisers([vae], lr, muon_lr), Ema([vae]), out / "vae.pt")
    generator = torch.Generator().manual_seed(seed + training.step)
    rng = np.random.default_rng(seed)
    pools: dict[int, torch.Tensor] = {}

    def loss_of(progress: float) -> Loss:
        nonlocal pools
        size, count = (SIZE // 2, 16) if progress < 0.6 else (SIZE, 8)
        if size not in pools:
            pools = {size: torch.from_numpy(pictures.placed_pool(rng, 8, size))}
        batch = _batch(pools[size], count, generator)
        noise = torch.randn(count, vae.config.latent_channels, size // 8, size // 8, generator=generator)
        loss, l1 = _loss(vae, batch, noise)
        return loss, l1.item(), f"size {size}  L1"

    training.run(minutes, loss_of, lambda: write_reconstructions(vae, pictures, out / "vae.png"))
    return vae


def refine_decoder(vae: AutoencoderKL, pictures: Pictures, out: Path, minutes: float, seed: int, lr: float = 3e-4) -> None:
    """Trains the decoder alone, at full size, on slightly wrong latents, like those of a denoiser; out/decoder.pt keeps it.

    The encoder does not change, so precomputed latents stay valid.
    """
    parts = [vae.decoder, vae.post_quant_conv]
    vae.requires_grad_(False)
    for part in parts:
        part.requires_grad_(True)
    training = Training("decoder", vae, Optimisers(parts, lr, 4 * lr), Ema(parts), out / "decoder.pt")
    generator = torch.Generator().manual_seed(seed + 7 + training.step)
    pool = torch.from_numpy(pictures.placed_pool(np.random.default_rng(seed + 7), 8))

    def loss_of(_progress: float) -> Loss:
        batch = _batch(pool, 8, generator)
        with torch.no_grad():
            latents = vae.encode(batch).latent_dist.mode()
            off = torch.rand(8, 1, 1, 1, generator=generator) * 0.25 / vae.config.scaling_factor
            latents = latents + off * torch.randn(latents.shape, generator=generator)
        loss, l1 = _picture_loss(vae.decoder(vae.post_quant_conv(latents)) - batch)
        return loss, l1.item(), "L1"

    training.run(minutes, loss_of, lambda: write_reconstructions(vae, pictures, out / "decoder.png"))


@torch.no_grad()
def write_reconstructions(vae: AutoencoderKL, pictures: Pictures, path: Path) -> None:
    """A sheet of originals above reconstructions of a few subjects, for inspection."""
    rng = np.random.default_rng(1)
    picks = rng.choice(len(pictures.subjects), min(24, len(pictures.subjects)), replace=False)
    originals = np.stack([pictures.compose(int(i), k % len(COLOURS), random_placement(rng)) for k, i in enumerate(picks)])
    batch = torch.from_numpy(originals).permute(0, 3, 1, 2) * 2 - 1
    decoded = vae.decode(vae.encode(batch).latent_dist.mode()).sample
    shown = (decoded.permute(0, 2, 3, 1).numpy() / 2 + 0.5).clip(0, 1)
    rows = [x for k in range(0, len(picks), 12) for x in (originals[k : k + 12], shown[k : k + 12])]
    contact_sheet(np.concatenate(rows), min(12, len(picks))).save(path)
