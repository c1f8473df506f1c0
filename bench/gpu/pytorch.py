"""The networks of networks.json as diffusers' own modules.

`python pytorch.py time full|tiny [SECONDS]` times a matrix product and each network in float16 on the GPU, and prints one JSON object a line
for the benchmark. Without diffusers, it times the matrix product alone. When SECONDS have passed, it starts no other network.
`python pytorch.py count` writes the number of floating-point operations of each network into networks.json; it runs on the meta device and
needs no GPU.
"""

import json
import sys
import time
from pathlib import Path

import torch

here = Path(__file__).parent
fixtures = here.parents[1] / "fixtures"
networks = json.loads((here / "networks.json").read_text())


def published(entry):
    """The class name and the config of a network."""
    if "table" in entry:
        table = json.loads((fixtures / "weight-tables" / f"{entry['table']}.json").read_text())
        return table["_class_name"], table["config"]
    config = json.loads((fixtures / entry["folder"] / "config.json").read_text())
    return config.get("_class_name", "T5EncoderModel"), config


def build(entry):
    """The module with random weights, and a function that runs it once: a step with guidance (a batch of two), or one decoded image."""
    import diffusers

    name, config = published(entry)
    model = getattr(diffusers, name).from_config({key: value for key, value in config.items() if not key.startswith("_")})
    model = model.eval().requires_grad_(False)
    edge = entry["latents"]
    if name == "AutoencoderKL":
        latents = torch.randn(1, config["latent_channels"], edge, edge)
        return lambda: model.decode(latents, return_dict=False)[0]
    latents = torch.randn(2, config["in_channels"], edge, edge)
    time_step = torch.tensor([500.0, 500.0])
    if name == "SD3Transformer2DModel":
        prompt = torch.randn(2, 77 + 256, config["joint_attention_dim"])
        pooled = torch.randn(2, config["pooled_projection_dim"])
        return lambda: model(latents, encoder_hidden_states=prompt, pooled_projections=pooled, timestep=time_step, return_dict=False)[0]
    prompt = torch.randn(2, 77, config["cross_attention_dim"])
    added = {}
    if config.get("addition_embed_type") == "text_time":
        width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        added = {"added_cond_kwargs": {"text_embeds": torch.randn(2, width), "time_ids": torch.zeros(2, 6)}}
    return lambda: model(latents, time_step, encoder_hidden_states=prompt, return_dict=False, **added)[0]


def count():
    """Writes the floating-point operations of each network: two for each multiplication of a matrix product or a convolution."""
    from torch.utils.flop_counter import FlopCounterMode

    for entry in networks["full"] + networks["tiny"]:
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            build(entry)()
        entry["flops"] = counter.get_total_flops()
    groups = [
        f'  "{name}": [\n' + ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)[:-1].replace('{', '{ ')} }}" for entry in group) + "\n  ]"
        for name, group in networks.items()
    ]
    (here / "networks.json").write_text("{\n" + ",\n".join(groups) + "\n}\n")


def seconds_of(run, runs):
    """Returns the mean seconds of `runs` runs, after one that is not counted."""
    run()
    wait()
    started = time.perf_counter()
    for _ in range(runs):
        run()
    wait()
    return (time.perf_counter() - started) / runs


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(group, limit):
    """Times a matrix product and the group's networks on the GPU. Without a GPU, the group `tiny` is timed on the CPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and group != "tiny":
        return print(json.dumps({"note": "PyTorch has no GPU here, so it was not timed."}))
    ends = time.perf_counter() + limit
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(json.dumps({"note": f"PyTorch {torch.__version__} on {card}"}), flush=True)
    torch.set_default_device(device)
    torch.set_default_dtype(torch.float16)
    size = 4096 if device == "cuda" else 256
    with torch.no_grad():
        a, b = torch.randn(size, size), torch.randn(size, size)
        print(json.dumps({"name": "matrix product", "seconds": seconds_of(lambda: a @ b, 20), "flops": 2 * size**3}), flush=True)
        try:
            import diffusers
        except ImportError:
            return print(json.dumps({"note": "diffusers is not installed, so PyTorch timed the matrix product alone."}))
        for entry in networks[group]:
            if time.perf_counter() > ends:
                return print(json.dumps({"note": f"PyTorch was stopped after {limit} s."}))
            try:
                found = {"seconds": seconds_of(build(entry), 5)}
            except Exception as error:
                found = {"note": f"PyTorch, {entry['name']}: {type(error).__name__}: {str(error).splitlines()[0][:200]}"}
            print(json.dumps({"name": entry["name"], **found}), flush=True)
            if device == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    if sys.argv[1] == "count":
        count()
    else:
        measure(sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 90)
