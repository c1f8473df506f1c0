"""A process of `npm run bench:wasm` that holds a network in PyTorch, on one thread: `python pytorch.py NETWORK`, a network of networks.json or a config.

It writes a line of JSON when it is ready, then runs once for each line that it reads, and writes the milliseconds.
"""

import json
import sys
import time

import torch

from network import build, read_network


def main(name):
    torch.set_num_threads(1)
    network, arguments = build(*read_network(name))
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        begun, used = time.perf_counter(), time.process_time()
        with torch.no_grad():
            network(*arguments)
        cpu, wall = time.process_time() - used, time.perf_counter() - begun
        print(json.dumps({"cpu": 1000 * cpu, "wall": 1000 * wall}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
