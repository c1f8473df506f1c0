"""The calls that judge.py makes: one for each class of diffusers and transformers.

Each function gets the class's config, the module, the edge of the latents and the tokens of the prompt. It returns a function that runs a
module in the module's own type, and the inputs by the names of Aquatint's graph. Aquatint's host computes some inputs of the graph. Instead
of these inputs, the function returns the arguments that the host needs: `timestep`, `guidance`, `text_lengths` and `input_ids`.
"""

import torch


def call(name, config, model, edge, tokens):
    return _CALLS[name](config, model, edge, tokens)


def _cast(values, module):
    return {key: value.to(module.dtype) for key, value in values.items()}


def _t5(config, _model, _edge, tokens):
    embeds = torch.randn(1, tokens, config["d_model"])
    return lambda module: {"last_hidden_state": module(inputs_embeds=embeds.to(module.dtype)).last_hidden_state}, {"inputs_embeds": embeds}


def _clip(config, model, _edge, tokens):
    ids = torch.randint(10, config["vocab_size"] - 10, (1, tokens))
    ids[0, -1] = config["vocab_size"] - 1
    inputs = {"input_ids": ids, "inputs_embeds": model.get_input_embeddings()(ids)}
    return lambda module: {"hidden_state": module(ids, output_hidden_states=True).hidden_states[-2]}, inputs


def _qwen3(config, model, _edge, tokens):
    ids = torch.randint(10, config["vocab_size"], (1, tokens))
    embeds = model.get_input_embeddings()(ids)
    return lambda module: {"last_hidden_state": module.model(inputs_embeds=embeds.to(module.dtype)).last_hidden_state}, {
        "input_ids": ids,
        "inputs_embeds": embeds,
    }


def _decoder(config, _model, edge, _tokens):
    latents = torch.randn(1, config["latent_channels"], edge, edge)
    return lambda module: {"sample": module.decode(latents.to(module.dtype), return_dict=False)[0]}, {"latents": latents}


def _runner(given, time, added=None):
    def run(module):
        extra = {} if added is None else {"added_cond_kwargs": _cast(added, module)}
        return {"out_sample": module(**_cast(given, module), **extra, timestep=time, return_dict=False)[0]}

    return run


def _guided(config, edge):
    """Latents and timesteps of a step with guidance."""
    return torch.randn(2, config["in_channels"], edge, edge), torch.tensor([500.0, 500.0])


def _sd3(config, model, edge, tokens):
    latents, time = _guided(config, edge)
    given = {"hidden_states": latents, "encoder_hidden_states": torch.randn(2, tokens, config["joint_attention_dim"])}
    given["pooled_projections"] = torch.randn(2, config["pooled_projection_dim"])
    inputs = given | {"pos_embed": model.pos_embed.cropped_pos_embed(edge, edge)[0], "timestep": time}
    return _runner(given, time), inputs


def _unet(config, model, edge, tokens):
    latents, time = _guided(config, edge)
    given = {"sample": latents, "encoder_hidden_states": torch.randn(2, tokens, config["cross_attention_dim"])}
    inputs = given | {"timestep": time}
    if config.get("addition_embed_type") != "text_time":
        return _runner(given, time), inputs
    width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    added = {"text_embeds": torch.randn(2, width), "time_ids": torch.full((2, 6), 512.0)}
    projected = model.add_time_proj(added["time_ids"].flatten()).reshape(2, -1)
    return _runner(given, time, added), inputs | {"add_embeds": torch.cat([added["text_embeds"], projected], 1)}


def _flux(config, _model, edge, tokens):
    """FLUX.1, with the pooled prompt and (in dev) guidance, or Chroma, with a mask."""
    from diffusers import FluxPipeline

    channels = config["in_channels"] // 4
    latents = torch.randn(1, channels, edge, edge)
    given = {"encoder_hidden_states": torch.randn(1, tokens, config["joint_attention_dim"])}
    if "pooled_projection_dim" in config:
        given["pooled_projections"] = torch.randn(1, config["pooled_projection_dim"])
        if config["guidance_embeds"]:
            given["guidance"] = torch.tensor([3.5])
    else:
        given["attention_mask"] = (torch.arange(tokens) < 3 * tokens // 4).float()[None]
    ids = {"img_ids": FluxPipeline._prepare_latent_image_ids(1, edge // 2, edge // 2, latents.device, torch.float32), "txt_ids": torch.zeros(tokens, 3)}

    def run(module):
        packed = FluxPipeline._pack_latents(latents, 1, channels, edge, edge)
        arguments = {"hidden_states": packed, **given}
        if "attention_mask" in given:
            arguments["attention_mask"] = torch.cat([given["attention_mask"], torch.ones(1, packed.shape[1])], 1)
        sample = module(**_cast(arguments, module), timestep=torch.tensor([0.5]), **ids, return_dict=False)[0]
        return {"out_sample": FluxPipeline._unpack_latents(sample, edge, edge, 1)}

    return run, given | {"hidden_states": latents, "timestep": torch.tensor([500.0])}


def _flux2(config, _model, edge, tokens):
    from diffusers import Flux2KleinPipeline as pipeline

    latents = torch.randn(1, config["in_channels"], edge, edge)
    prompt = torch.randn(1, tokens, config["joint_attention_dim"])

    def run(module):
        arguments = _cast({"hidden_states": pipeline._pack_latents(latents), "encoder_hidden_states": prompt}, module)
        ids = {"img_ids": pipeline._prepare_latent_ids(latents), "txt_ids": pipeline._prepare_text_ids(prompt)}
        output = module(**arguments, **ids, timestep=torch.tensor([0.5]), guidance=None).sample
        return {"out_sample": output.permute(0, 2, 1).reshape(1, -1, edge, edge)}

    return run, {"hidden_states": latents, "encoder_hidden_states": prompt, "timestep": torch.tensor([500.0])}


def _z_image(config, _model, edge, tokens):
    latents = torch.randn(1, config["in_channels"], edge, edge)
    prompt = torch.randn(1, tokens, config["cap_feat_dim"])

    def run(module):
        given, text = (value.to(module.dtype) for value in (latents, prompt))
        # Z-Image's class counts time from noise to image, and returns the negative velocity.
        output = module(list(given.unsqueeze(2).unbind(0)), torch.tensor([0.5]), list(text), return_dict=False)[0]
        return {"out_sample": -torch.stack(output).squeeze(2)}

    inputs = {"hidden_states": latents, "encoder_hidden_states": prompt, "timestep": torch.tensor([500.0])}
    return run, inputs | {"text_lengths": torch.tensor([tokens])}


_CALLS = {
    "T5EncoderModel": _t5,
    "CLIPTextModelWithProjection": _clip,
    "Qwen3ForCausalLM": _qwen3,
    "AutoencoderKL": _decoder,
    "UNet2DConditionModel": _unet,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
    "ChromaTransformer2DModel": _flux,
    "Flux2Transformer2DModel": _flux2,
    "ZImageTransformer2DModel": _z_image,
}
