"""Writes a network with random weights, and what PyTorch computes with it:
`python judge.py NAME FOLDER [--latents N] [--tokens N] [--dequantized q8|q4]`, for a network of networks.json.

FOLDER gets a config.json, the weights in float16, and reference.safetensors: the inputs (`input.…`) and the output (`output.…`) of the
modules of diffusers and transformers in float32 with those weights. The last line printed is JSON: `error`, the error of the same modules
in float16 (root mean square, divided by that of the float32 output), and `how` they computed. With `--dequantized q8`, FOLDER already
has these files, and dequantized-q8.safetensors, whose weights replace the network's weights of the same names. Then only
reference-q8.safetensors is written.

On a CPU, PyTorch computes float16 as on a GPU: it sums in float32, and rounds each operator's result once. This was measured with torch
2.13, on a Linear over 20,480 terms and a 3 × 3 Conv of 2,560 channels: both have an error of 2.07e-4 against float64, and so have results
that are computed in float64 and rounded to float16.
"""

import argparse
import json
import re
from pathlib import Path

import torch
from judge_calls import call
from pytorch import networks, published
from safetensors.torch import load_file, save_file

_LARGEST = 65504.0
_BLOCK = re.compile(r"(^|\.)(block|layers|\w*_refiner|\w*transformer_blocks)\.\d+$")


def build(entry):
    """Returns the class name, the config and the module in float32, with weights that are rounded to float16."""
    name, config = published(entry)
    config = {**config, **entry.get("config", {})}
    torch.manual_seed(0)
    if name in ("T5EncoderModel", "CLIPTextModelWithProjection", "Qwen3ForCausalLM"):
        import transformers

        kind = getattr(transformers, name)
        model = kind(kind.config_class(**config))
    else:
        import diffusers

        # Decoders are judged in float16 too, although published pipelines compute some of them in float32.
        config = {key: value for key, value in config.items() if not key.startswith("_")} | ({"force_upcast": False} if name == "AutoencoderKL" else {})
        model = getattr(diffusers, name).from_config(config)
    return name, config, model.eval().requires_grad_(False).half().float()


def largest(model, run):
    """Returns the largest magnitude in the residual stream, which is what the blocks return."""
    found = [0.0]

    def look(_module, _inputs, output):
        found.extend(value.abs().max().item() for value in (output if isinstance(output, tuple) else (output,)) if torch.is_tensor(value))

    hooks = [module.register_forward_hook(look) for name, module in model.named_modules() if _BLOCK.search(name)]
    run(model)
    for hook in hooks:
        hook.remove()
    return max(found)


def enlarge(model, run, large):
    """
    Doubles rows of tensors until the residual stream exceeds float16's range, as it does in a few channels of published T5, FLUX and Qwen
    checkpoints.
    """
    parameters = dict(model.named_parameters())
    while largest(model, run) < 1.25 * _LARGEST:
        for name, rows in large.items():
            parameters[name].data[rows or slice(None)] *= 2
            assert parameters[name].abs().max().item() < _LARGEST, name


def round_products(model):
    """
    Makes Linears round their inputs, weights and results to float16, as a GPU's products in float16 do. Everything between Linears stays
    float32. Values beyond float16's range keep as many bits as float16 has, as if they were scaled by a power of two.
    """

    def rounded(x):
        exponent = max(0, x.abs().max().log2().ceil().item() - 15)
        return (x * 2.0**-exponent).half().float() * 2.0**exponent

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.half().float()
            module.register_forward_pre_hook(lambda _module, inputs: (rounded(inputs[0]), *inputs[1:]))
            module.register_forward_hook(lambda _module, _inputs, output: rounded(output))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latents", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--dequantized")
    options = parser.parse_args()
    folder = options.folder
    entry = next(one for group in networks.values() for one in group if one["name"] == options.name)
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
        # By default, a GPU computes products of float32 matrices with fewer bits (TF32).
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    name, config, model = build(entry)
    weights = folder / ("diffusion_pytorch_model.safetensors" if hasattr(model, "_internal_dict") else "model.safetensors")
    with torch.no_grad():
        run, inputs = call(name, config, model, options.latents or 16, options.tokens or 77)
        large = entry.get("large")
        if options.dequantized:
            for file in (weights, folder / f"dequantized-{options.dequantized}.safetensors"):
                model.load_state_dict(load_file(file), strict=False)
        elif large:
            enlarge(model, run, large)
        expected = run(model)
        ((output, exact),) = expected.items()
        if not large:
            # The model becomes float16 before its weights are written: the largest models leave no memory for a copy.
            model = model.half()
        if not options.dequantized:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(json.dumps({**config, "_class_name": name}))
            # Tied weights are written once.
            state = {key: value for key, value in model.state_dict().items() if key not in ("encoder.embed_tokens.weight", "lm_head.weight")}
            save_file({key: value.half().contiguous().cpu() for key, value in state.items()}, weights)
        if large:
            round_products(model)
        actual = run(model)[output].float()
    error = ((actual - exact).square().mean() / exact.square().mean()).sqrt().item()
    assert actual.isfinite().all()
    tensors = {f"input.{key}": value.float().contiguous().cpu() for key, value in inputs.items()}
    reference = f"reference-{options.dequantized}" if options.dequantized else "reference"
    save_file(tensors | {f"output.{output}": exact.float().contiguous().cpu()}, folder / f"{reference}.safetensors")
    print(json.dumps({"error": error, "how": "products" if large else "float16"}))


if __name__ == "__main__":
    main()
