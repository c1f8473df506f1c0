"""Writes the ordinary ONNX export of a UNet, fused by onnxruntime.transformers, to compare with in `npm run bench:kernels` and `npm run bench:wasm`.

python bench/kernels/export.py sdxl-unet unet.onnx
python bench/kernels/export.py public/models/aquatint-emoji/unet/config.json unet.onnx

The first argument is a network of networks.json, or the config of a UNet.

Needs torch, diffusers, onnx, onnxscript and onnxruntime. Random weights, batch 2, prompt of 77 tokens.
"""

import json
import sys
import tempfile
from pathlib import Path

import onnx
import torch
from diffusers import UNet2DConditionModel
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model


class Plain(torch.nn.Module):
    """The UNet with tensors as its arguments and its result."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, context, *added):
        given = dict(zip(("text_embeds", "time_ids"), added, strict=False)) or None
        return self.unet(sample, timestep, context, added_cond_kwargs=given, return_dict=False)[0]


def read_network(name):
    """The config of a UNet, and the edge of its latents."""
    if name.endswith(".json"):
        return json.loads(Path(name).read_text()), 16
    network = json.loads(Path(__file__).with_name("networks.json").read_text())[name]
    if network["className"] != "UNet2DConditionModel":
        raise SystemExit(f"{name} is no UNet: onnxruntime.transformers fuses no transformer of this class.")
    return network["config"], network["latents"]


def main(name, target):
    config, edge = read_network(name)
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(config).eval()
    arguments = [torch.randn(2, 4, edge, edge), torch.tensor([10, 10]), torch.randn(2, 77, config["cross_attention_dim"])]
    if config.get("addition_embed_type") is not None:
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        arguments += [torch.randn(2, pooled), torch.zeros(2, 6)]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "unet.onnx")
        torch.onnx.export(Plain(unet), tuple(arguments), path, opset_version=17, dynamo=False)
        options = FusionOptions("unet")
        # Fused group norm and split GELU have no kernel on WebGPU, and packed queries, keys and values none there.
        options.enable_group_norm = False
        options.enable_bias_splitgelu = False
        options.enable_packed_qkv = False
        options.enable_packed_kv = False
        options.enable_skip_group_norm = False
        options.enable_nhwc_conv = False
        optimized = optimize_model(path, "unet", num_heads=0, hidden_size=0, opt_level=0, optimization_options=options)
        optimized.save_model_to_file(target)
    counts = {}
    for node in onnx.load(target).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    print(json.dumps(dict(sorted(counts.items(), key=lambda item: -item[1]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
