#!/bin/sh
# Unpacks the GPU benchmark into a temporary folder and runs it with the given options: --tiny, --accuracy, --latents N, --tokens N, --only NAME, --minutes N, --runs N, --python PATH.
set -e
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tar -xzf "$here/bench.tar.gz" -C "$folder"
# Vulkan's window systems need this variable, although nothing is drawn on a screen.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$folder}"
"$folder/node" --no-warnings "$folder/bench/gpu/run.mjs" "$@"
