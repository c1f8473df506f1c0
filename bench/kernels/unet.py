"""The UNet of a benchmark with random weights, and arguments for one run of it: batch 2, a prompt of 77 tokens."""

import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel


def read_network(name):
    """The config of a UNet, from networks.json or from a file, and the edge of its latents."""
    if name.endswith(".json"):
        return json.loads(Path(name).read_text()), 16
    network = json.loads(Path(__file__).with_name("networks.json").read_text())[name]
    if network["className"] != "UNet2DConditionModel":
        raise SystemExit(f"{name} is no UNet: onnxruntime.transformers fuses no transformer of this class.")
    return network["config"], network["latents"]


class Plain(torch.nn.Module):
    """The UNet with tensors as its arguments and its result."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, context, *added):
        given = dict(zip(("text_embeds", "time_ids"), added, strict=False)) or None
        return self.unet(sample, timestep, context, added_cond_kwargs=given, return_dict=False)[0]


def build(config, edge):
    """The module and its arguments."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(config).eval().requires_grad_(False)
    arguments = [torch.randn(2, 4, edge, edge), torch.tensor([10, 10]), torch.randn(2, 77, config["cross_attention_dim"])]
    if config.get("addition_embed_type") is not None:
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        arguments += [torch.randn(2, pooled), torch.zeros(2, 6)]
    return Plain(unet), tuple(arguments)
