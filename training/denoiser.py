"""The denoiser and its two text encoders, trained together on precomputed latents.

The classes are diffusers' UNet2DConditionModel and transformers' CLIPTextModel and CLIPTextModelWithProjection, joined exactly
as StableDiffusionXLPipeline joins them: the penultimate hidden states of both encoders side by side for cross-attention, the
second one's projected end token and the size ids added to the time embedding.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from captions import caption
from data import COLOURS, SIZE, Pictures, contact_sheet, random_placement
from loop import Loss, Training
from optim import Ema, Optimisers
from tokens import LENGTH

STEPS = 10
"""Sampling steps the model is meant for; 70 % of the training's time steps are among these."""

WIDTHS = (64, 128)
"""Hidden sizes of the first and the second text encoder."""


def make_scheduler() -> EulerDiscreteScheduler:
    """SDXL's noise schedule, predicting v, with the steps counted from the noisiest one."""
    return EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        num_train_timesteps=1000,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )


def make_text_encoders(tokenizer: CLIPTokenizer) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Untrained text encoders for this tokenizer's vocabulary."""

    def config(width: int, act: str) -> CLIPTextConfig:
        return CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=WIDTHS[1],
            num_hidden_layers=2,
            num_attention_heads=width // 32,
            max_position_embeddings=LENGTH,
            hidden_act=act,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )

    encoders = CLIPTextModel(config(WIDTHS[0], "quick_gelu")), CLIPTextModelWithProjection(config(WIDTHS[1], "gelu"))
    for encoder in encoders:
        for name, p in encoder.named_parameters():
            if "token_embedding" in name:
                nn.init.normal_(p, std=0.3)
    return encoders


def make_unet(channels: tuple[int, ...] = (32, 96, 128), latent_channels: int = 4) -> UNet2DConditionModel:
    """An untrained denoiser in SDXL's form: three levels, cross-attention on the lower two, size ids in the time embedding."""
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=tuple(c // 32 for c in channels),
        cross_attention_dim=sum(WIDTHS),
        transformer_layers_per_block=1,
        use_linear_projection=True,
        norm_num_groups=16,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=WIDTHS[1] + 6 * 32,
    )


class Model(nn.Module):
    """The networks that are trained here, called as SDXL's pipeline calls them."""

    def __init__(self, tokenizer: CLIPTokenizer):
        super().__init__()
        self.first, self.second = make_text_encoders(tokenizer)
        self.unet = make_unet().to(memory_format=torch.channels_last)

    def encode(self, ids: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids for each encoder, [batch, 77], to prompt embeddings [batch, 77, 192] and pooled ones [batch, 128]."""
        one = self.first(ids[0], output_hidden_states=True)
        two = self.second(ids[1], output_hidden_states=True)
        return torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1), two.text_embeds

    def forward(
        self, noisy: torch.Tensor, t: torch.Tensor, embeds: torch.Tensor, pooled: torch.Tensor
    ) -> torch.Tensor:
        time_ids = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]], dtype=noisy.dtype).expand(len(noisy), -1)
        return self.unet(
            noisy, t, embeds, added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids}, return_dict=False
        )[0]


@torch.no_grad()
def whiten(vae: AutoencoderKL, mean: torch.Tensor, mix: torch.Tensor) -> None:
    """Makes the autoencoder's latents `mix @ (latents - mean)`, by changing its two 1x1 convolutions: pictures stay the same."""
    n = len(mean)
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.bias[:n] = mix @ (quant.bias[:n] - mean)
    quant.weight[:n] = torch.einsum("ij,jkyx->ikyx", mix, quant.weight[:n])
    # Scale the posterior's variances as if the latents' errors were independent and had equal variances.
    quant.bias[n:] += mix.square().sum(1).log()
    weight = post.weight[:, :, 0, 0]
    post.bias += weight @ mean
    post.weight[:, :, 0, 0] = weight @ mix.inverse()


@torch.no_grad()
def compute_latents(vae: AutoencoderKL, pictures: Pictures, each: int, path: Path, seed: int) -> torch.Tensor:
    """Scaled latents of `each` placements of every subject on every colour: [subjects, colours, each, 4, 16, 16], kept in `path`.

    The autoencoder is whitened on the way, so that its latents' channels have no mean, one variance and no correlation, and
    its scaling_factor set to their inverse standard deviation, as diffusers expects it.
    """
    if path.exists():
        kept = torch.load(path, weights_only=True)
        whiten(vae, kept["mean"], kept["mix"])
        vae.register_to_config(scaling_factor=kept["scaling_factor"])
        return kept["latents"]
    rng = np.random.default_rng(seed + 1)
    vae.eval()
    rows = []
    for subject in range(len(pictures.subjects)):
        composed = np.stack(
            [pictures.compose(subject, c, replace(random_placement(rng), mirrored=k % 2 == 1)) for c in range(len(COLOURS)) for k in range(each)]
        )
        batch = torch.from_numpy(composed).permute(0, 3, 1, 2) * 2 - 1
        rows.append(vae.encode(batch).latent_dist.mode().contiguous())
        if subject % 40 == 0:
            print(f"latents {subject}/{len(pictures.subjects)}", flush=True)
    latents = torch.stack(rows).unflatten(1, (len(COLOURS), each))
    flat = latents.movedim(3, -1).reshape(-1, latents.shape[3])
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    size = values.mean().sqrt()
    mix = vectors @ torch.diag(size / values.sqrt()) @ vectors.T
    factor = round(1 / size.item(), 5)
    print(f"latents' mean {mean.tolist()}, principal deviations {values.sqrt().tolist()}; scaling_factor {factor}", flush=True)
    whiten(vae, mean, mix)
    vae.register_to_config(scaling_factor=factor)
    latents = torch.einsum("ij,...jyx->...iyx", mix, latents - mean[:, None, None]) * factor
    torch.save({"latents": latents, "scaling_factor": factor, "mean": mean, "mix": mix}, path)
    return latents


class Batches:
    """Random (noisy latents, time step, target, weight, token ids, dropped) from the latents and the captions."""

    def __init__(self, latents: torch.Tensor, pictures: Pictures, tokenizers: list[CLIPTokenizer], seed: int):
        self.latents, self.pictures, self.tokenizers = latents, pictures, tokenizers
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        scheduler = make_scheduler()
        self.alphas = scheduler.alphas_cumprod.float()
        scheduler.set_timesteps(STEPS)
        self.shipped = scheduler.timesteps.long()
        chances = np.ones(len(COLOURS))
        chances[0] = 2.0
        self.colour_chances = chances / chances.sum()

    def tokenize(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = [
            t(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt").input_ids
            for t in self.tokenizers
        ]
        return ids[0], ids[1]

    def captions(self, count: int) -> dict[str, torch.Tensor]:
        """Captions alone: token ids, the position of each end token, and the subject and colour of each caption."""
        subjects = self.rng.integers(len(self.pictures.subjects), size=count)
        colours = self.rng.choice(len(COLOURS), size=count, p=self.colour_chances)
        texts = [caption(self.pictures.subjects[s], int(c), self.rng) for s, c in zip(subjects, colours)]
        first, second = self.tokenize(texts)
        return {
            "first": first,
            "second": second,
            "ends": (first == self.tokenizers[0].eos_token_id).int().argmax(1),
            "subjects": torch.from_numpy(subjects),
            "colours": torch.from_numpy(colours),
        }

    def next(self, captions: int, repeats: int = 2) -> dict[str, torch.Tensor]:
        """A batch of captions, each with `repeats` pictures of its own, so that text is encoded less often."""
        g = self.generator
        count = captions * repeats
        told = self.captions(captions)
        subjects = told["subjects"].repeat_interleave(repeats)
        colours = told["colours"].repeat_interleave(repeats)
        placements = torch.randint(self.latents.shape[2], (count,), generator=g)
        clean = self.latents[subjects, colours, placements]
        t = torch.randint(1000, (count,), generator=g)
        chosen = self.shipped[torch.randint(STEPS, (count,), generator=g)]
        t = torch.where(torch.rand(count, generator=g) < 0.7, chosen, t)
        alpha = self.alphas[t].view(-1, 1, 1, 1)
        noise = torch.randn(clean.shape, generator=g)
        snr = alpha / (1 - alpha)
        return {
            "noisy": alpha.sqrt() * clean + (1 - alpha).sqrt() * noise,
            "t": t,
            "target": alpha.sqrt() * noise - (1 - alpha).sqrt() * clean,
            # Min-SNR weights for v-prediction (gamma 5), at least 0.2, because the first step, of low SNR, determines the subject.
            "weight": (snr.clamp(max=5) / (snr + 1)).clamp(min=0.2),
            "first": told["first"],
            "second": told["second"],
            # Train 6% with zeroed embeddings, as SDXL uses them for an empty negative prompt (force_zeros_for_empty_prompt).
            "kept": (torch.rand(count, generator=g) > 0.06).float(),
        }


def loss_of_batch(model: Model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Weighted mean squared error of the predicted v."""
    embeds, pooled = model.encode((batch["first"], batch["second"]))
    kept = batch["kept"]
    repeats = len(kept) // len(pooled)
    embeds, pooled = embeds.repeat_interleave(repeats, 0), pooled.repeat_interleave(repeats, 0)
    predicted = model(batch["noisy"], batch["t"], embeds * kept[:, None, None], pooled * kept[:, None])
    return (batch["weight"] * (predicted.float() - batch["target"]).square()).mean()


def teach_names(model: Model, batches: Batches, steps: int, count: int = 64) -> None:
    """Cheap pretraining of the text encoders: predict subject and colour from their outputs for the denoiser.

    A step on text costs a tenth of a denoiser's step, and a denoiser that receives clear prompts from its first step learns faster.
    """
    classes = (len(batches.pictures.subjects), len(COLOURS))
    heads = nn.ModuleList(nn.Linear(width, sum(classes)) for width in (WIDTHS[1], *WIDTHS))
    optimisers = Optimisers([model.first, model.second, heads], 2e-3, 2e-3, use_muon=False)
    rows = torch.arange(count)
    for step in range(steps):
        optimisers.set_progress(step / steps, step)
        batch = batches.captions(count)
        embeds, pooled = model.encode((batch["first"], batch["second"]))
        ends = embeds[rows, batch["ends"]]
        loss = torch.zeros(())
        for head, states in zip(heads, (pooled, ends[:, : WIDTHS[0]], ends[:, WIDTHS[0] :])):
            subject, colour = head(states).split(classes, 1)
            loss = loss + F.cross_entropy(subject, batch["subjects"]) + F.cross_entropy(colour, batch["colours"])
        loss.backward()
        optimisers.step()
        if (step + 1) % 50 == 0:
            right = (subject.argmax(1) == batch["subjects"]).float().mean().item()
            print(f"names step {step + 1}  loss {loss.item():.3f}  subjects right {right:.2f}", flush=True)


def train_denoiser(
    pictures: Pictures,
    latents: torch.Tensor,
    vae: AutoencoderKL,
    tokenizers: list[CLIPTokenizer],
    out: Path,
    minutes: float,
    seed: int,
    lr: float = 1e-3,
    muon_lr: float = 4e-3,
    count: int = 28,
    name_steps: int = 500,
) -> Model:
    """Trains the denoiser and its text encoders, resuming from out/denoiser.pt."""
    torch.manual_seed(seed)
    model = Model(tokenizers[0])
    optimisers, ema = Optimisers([model], lr, muon_lr), Ema([model])
    training = Training("denoiser", model, optimisers, ema, out / "denoiser.pt", save_seconds=240)
    batches = Batches(latents, pictures, tokenizers, seed + training.step)
    if training.step == 0:
        teach_names(model, batches, name_steps)

    def loss_of(_progress: float) -> Loss:
        loss = loss_of_batch(model, batches.next(count))
        return loss, loss.item(), "loss"

    training.run(minutes, loss_of, lambda: write_samples(model, vae, batches, out / "samples.png"))
    return model


@torch.no_grad()
def sample(
    model: Model, vae: AutoencoderKL, ids: tuple[torch.Tensor, torch.Tensor], seed: int, steps: int = STEPS
) -> np.ndarray:
    """Pictures for token ids, [n, 128, 128, 3] in 0..1, by the shipped scheduler without guidance."""
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps)
    embeds, pooled = model.encode(ids)
    side = SIZE // 8
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(len(pooled), model.unet.config.in_channels, side, side, generator=generator)
    latents = latents * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        v = model(scheduler.scale_model_input(latents, t), t.expand(len(latents)), embeds, pooled)
        latents = scheduler.step(v, t, latents).prev_sample
    decoded = vae.decode(latents / vae.config.scaling_factor).sample
    return (decoded.permute(0, 2, 3, 1).numpy() / 2 + 0.5).clip(0, 1)


def write_samples(model: Model, vae: AutoencoderKL, batches: Batches, path: Path) -> None:
    """A sheet of pictures for inspection, with three seeds for the first prompts."""
    rng = np.random.default_rng(3)
    picks = rng.choice(len(batches.pictures.subjects), 36)
    names = list(COLOURS)
    texts = [f"{batches.pictures.subjects[s].name}, {names[k % 8]} background" for k, s in enumerate(picks)]
    texts += texts[:6] + ["rocket", "red apple", "a flurb", "blue background", "", "sad cat on a pink background"]
    contact_sheet(sample(model, vae, batches.tokenize(texts), 5), 12).save(path)
