"""Writes the trained parts as one diffusers repository with fp16 weights, and loads it as a user would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from diffusers import __version__ as diffusers_version

from safetensors.torch import load_file, save_file

from denoiser import Model, make_scheduler
from tokens import END, load_tokenizer, write_tokenizer


def write_tokenizers(folder: Path, merges: list[tuple[str, str]]) -> None:
    """SDXL's two tokenizers: one vocabulary; the second pads with "!" (id 0)."""
    write_tokenizer(folder / "tokenizer", merges, END)
    write_tokenizer(folder / "tokenizer_2", merges, "!")


def load_tokenizers(folder: Path) -> list:
    """Both tokenizers of a repository folder."""
    return [load_tokenizer(folder / "tokenizer"), load_tokenizer(folder / "tokenizer_2")]


def export(model: Model, vae: AutoencoderKL, merges: list[tuple[str, str]], folder: Path) -> None:
    """Replaces everything in `folder` but README.md and LICENSE.txt by the repository."""
    for child in folder.iterdir() if folder.exists() else ():
        if child.is_dir():
            shutil.rmtree(child)
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizers(folder, merges)
    half = torch.float16
    for name, module in (("vae", vae), ("text_encoder", model.first), ("text_encoder_2", model.second)):
        module.to(half, memory_format=torch.contiguous_format).save_pretrained(folder / name, safe_serialization=True)
    add_prefix(folder / "text_encoder" / "model.safetensors")
    unet = model.unet.to(half, memory_format=torch.contiguous_format)
    size = sum(p.numel() * 2 for p in unet.parameters())
    # Sharded like large checkpoints: at most 30% of the size per shard gives four shards.
    unet.save_pretrained(folder / "unet", safe_serialization=True, max_shard_size=f"{size // 3_400}KB")
    make_scheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(
        json.dumps(
            {
                "_class_name": "StableDiffusionXLPipeline",
                "_diffusers_version": diffusers_version,
                "force_zeros_for_empty_prompt": True,
                "scheduler": ["diffusers", "EulerDiscreteScheduler"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
                "tokenizer_2": ["transformers", "CLIPTokenizer"],
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
            },
            indent=2,
        )
        + "\n",
        "utf-8",
    )
    for module in (vae, model):
        module.float()
    for config in folder.glob("*/config.json"):
        content = json.loads(config.read_text("utf-8"))
        content.pop("_name_or_path", None)
        config.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def add_prefix(path: Path) -> None:
    """Gives CLIPTextModel's tensors the names that published checkpoints use; transformers 5 leaves out "text_model."."""
    tensors = load_file(path)
    prefix = "text_model."
    save_file({n if n.startswith(prefix) else prefix + n: t for n, t in tensors.items()}, path, {"format": "pt"})


def load_pipeline(folder: Path, dtype: torch.dtype = torch.float32) -> StableDiffusionXLPipeline:
    """The exported repository as diffusers loads it: fp16 weights, computed in `dtype`."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, torch_dtype=dtype, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
