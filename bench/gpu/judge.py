"""Writes a network with random weights, and what PyTorch makes of it: `python judge.py NAME FOLDER`, for a network of networks.json.

FOLDER gets a config.json, the weights in float16, and reference.safetensors: the inputs by the names of Aquatint's graph (`input.…`), and as `output.…` the
outputs of the modules of diffusers and transformers in float32 on those weights. The metadata of that file has `pytorch`, the error of the same modules in float16: root mean square,
relative to that of the float32 output.
"""

import json
import sys
from pathlib import Path

import torch
from pytorch import networks, published
from safetensors.torch import save_file


def build(entry):
    """The class name, the config and the module, whose weights are float16 numbers."""
    name, config = published(entry)
    torch.manual_seed(0)
    if name == "T5EncoderModel":
        import transformers

        config = {**config, "num_layers": entry["blocks"], "num_decoder_layers": entry["blocks"]}
        model = transformers.T5EncoderModel(transformers.T5Config(**config))
    else:
        import diffusers

        # Decoders are judged in float16 too, although published pipelines compute some of them in float32.
        config = {key: value for key, value in config.items() if not key.startswith("_")} | ({"force_upcast": False} if name == "AutoencoderKL" else {})
        model = getattr(diffusers, name).from_config(config)
    return name, config, model.eval().requires_grad_(False).half().float()


def call(name, config, model, edge):
    """A function that runs a module in its own type, and the inputs of Aquatint's graph."""
    if name == "T5EncoderModel":
        embeds = torch.randn(1, edge, config["d_model"])
        return lambda module: {"last_hidden_state": module(inputs_embeds=embeds.to(module.dtype)).last_hidden_state}, {"inputs_embeds": embeds}
    if name == "AutoencoderKL":
        latents = torch.randn(1, config["latent_channels"], edge, edge)
        return lambda module: {"sample": module.decode(latents.to(module.dtype), return_dict=False)[0]}, {"latents": latents}
    latents = torch.randn(2, config["in_channels"], edge, edge)
    time = torch.tensor([500.0, 500.0])
    if name == "SD3Transformer2DModel":
        given = {"hidden_states": latents, "encoder_hidden_states": torch.randn(2, 77, config["joint_attention_dim"])}
        given["pooled_projections"] = torch.randn(2, config["pooled_projection_dim"])
        inputs = given | {"pos_embed": model.pos_embed.cropped_pos_embed(edge, edge)[0], "timestep_proj": model.time_text_embed.time_proj(time)}
        return runner(given, time), inputs
    given = {"sample": latents, "encoder_hidden_states": torch.randn(2, 77, config["cross_attention_dim"])}
    inputs = given | {"timestep_proj": model.time_proj(time)}
    if config.get("addition_embed_type") != "text_time":
        return runner(given, time), inputs
    width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    added = {"text_embeds": torch.randn(2, width), "time_ids": torch.full((2, 6), 512.0)}
    projected = model.add_time_proj(added["time_ids"].flatten()).reshape(2, -1)
    return runner(given, time, added), inputs | {"add_embeds": torch.cat([added["text_embeds"], projected], 1)}


def runner(given, time, added=None):
    def run(module):
        inputs = {key: value.to(module.dtype) for key, value in given.items()}
        extra = {} if added is None else {"added_cond_kwargs": {key: value.to(module.dtype) for key, value in added.items()}}
        return {"out_sample": module(**inputs, **extra, timestep=time, return_dict=False)[0]}

    return run


def main(wanted, folder):
    entry = next(one for group in networks.values() for one in group if one["name"] == wanted)
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
        # By default, a GPU computes products of float32 matrices with fewer bits (TF32).
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    name, config, model = build(entry)
    with torch.no_grad():
        run, inputs = call(name, config, model, entry["latents"])
        expected = run(model)
        model = model.half()
        actual = run(model)
    ((output, exact),) = expected.items()
    error = ((actual[output].float() - exact).square().mean() / exact.square().mean()).sqrt().item()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config, "_class_name": name}))
    weights = "model" if name == "T5EncoderModel" else "diffusion_pytorch_model"
    # Tied weights are written once.
    state = {key: value.contiguous().cpu() for key, value in model.state_dict().items() if key != "encoder.embed_tokens.weight"}
    save_file(state, folder / f"{weights}.safetensors")
    tensors = {f"input.{key}": value.float().contiguous().cpu() for key, value in inputs.items()}
    save_file(tensors | {f"output.{output}": exact.contiguous().cpu()}, folder / "reference.safetensors", {"pytorch": str(error)})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
