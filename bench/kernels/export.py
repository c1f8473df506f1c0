"""Writes the ordinary ONNX export of a network, fused by onnxruntime.transformers.

`npm run bench:kernels` and `npm run bench:wasm` compare Aquatint's graphs with it.

python bench/kernels/export.py sdxl-unet unet.onnx
python bench/kernels/export.py sd3-transformer transformer.onnx
python bench/kernels/export.py public/models/aquatint-emoji/unet/config.json unet.onnx

The first argument is a network of networks.json, or the config of a UNet.

Needs torch, diffusers, onnx, onnxscript and onnxruntime. The weights are random, the batch size is 2, and the prompt has 77 tokens (333 for SD3).
"""

import json
import sys
import tempfile
from pathlib import Path

import onnx
import torch
from diffusers.models.attention_processor import AttnProcessor
from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model

from network import build, read_network


def fusion_options(kind):
    options = FusionOptions(kind)
    # onnxruntime has no WebGPU kernel for fused group norm, for split GELU, or for packed queries, keys and values.
    options.enable_group_norm = False
    options.enable_bias_splitgelu = False
    options.enable_packed_qkv = False
    options.enable_packed_kv = False
    options.enable_skip_group_norm = False
    options.enable_nhwc_conv = False
    return options


def main(name, target):
    class_name, config, edge = read_network(name)
    plain, arguments = build(class_name, config, edge)
    # The model type of the network in onnxruntime.transformers.
    kind = "unet" if class_name == "UNet2DConditionModel" else "mmdit"
    if kind == "unet":
        # onnxruntime.transformers fuses the attention that this processor exports, but not the attention of the default processor.
        plain.unet.set_attn_processor(AttnProcessor())
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "network.onnx")
        names = [f"input_{i}" for i in range(len(arguments))]
        # onnxruntime.transformers finds the number of heads of an mmdit only if the batch size is dynamic. The batch size is made fixed again below.
        axes = {name: {0: "batch"} for name in names} if kind == "mmdit" else None
        torch.onnx.export(plain, arguments, path, opset_version=17, dynamo=False, input_names=names, dynamic_axes=axes)
        optimized = optimize_model(path, kind, num_heads=0, hidden_size=0, opt_level=0, optimization_options=fusion_options(kind))
        make_dim_param_fixed(optimized.model.graph, "batch", arguments[0].shape[0])
        optimized.save_model_to_file(target)
    counts = {}
    for node in onnx.load(target).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    print(json.dumps(dict(sorted(counts.items(), key=lambda item: -item[1]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
