"""
Builds the network of a benchmark with random weights, and arguments for one run: batch 2, and a prompt of 77 tokens. SD3's prompt has 256
more tokens, from T5.
"""

import json
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel


def read_network(name):
    """The class, the config and the edge of the latents of a network of networks.json, or of a UNet whose config is a file."""
    if name.endswith(".json"):
        return "UNet2DConditionModel", json.loads(Path(name).read_text()), 16
    network = json.loads(Path(__file__).with_name("networks.json").read_text())[name]
    return network["className"], network["config"], network["latents"]


class Plain(torch.nn.Module):
    """The UNet with tensors as its arguments and its result."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, context, *added):
        given = dict(zip(("text_embeds", "time_ids"), added, strict=False)) or None
        return self.unet(sample, timestep, context, added_cond_kwargs=given, return_dict=False)[0]


class PlainTransformer(torch.nn.Module):
    """SD3's transformer with tensors as its arguments and its result."""

    def __init__(self, transformer):
        super().__init__()
        self.transformer = transformer

    def forward(self, sample, timestep, context, pooled):
        return self.transformer(sample, context, pooled, timestep, return_dict=False)[0]


def build(kind, config, edge):
    """The module and its arguments."""
    torch.manual_seed(0)
    if kind == "SD3Transformer2DModel":
        transformer = SD3Transformer2DModel.from_config(config).eval().requires_grad_(False)
        context = torch.randn(2, 77 + 256, config["joint_attention_dim"])
        pooled = torch.randn(2, config["pooled_projection_dim"])
        return PlainTransformer(transformer), (torch.randn(2, 16, edge, edge), torch.tensor([10.0, 10.0]), context, pooled)
    unet = UNet2DConditionModel.from_config(config).eval().requires_grad_(False)
    arguments = [torch.randn(2, 4, edge, edge), torch.tensor([10, 10]), torch.randn(2, 77, config["cross_attention_dim"])]
    if config.get("addition_embed_type") is not None:
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        arguments += [torch.randn(2, pooled), torch.zeros(2, 6)]
    return Plain(unet), tuple(arguments)
