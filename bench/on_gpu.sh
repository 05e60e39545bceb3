#!/usr/bin/env bash
# Everything that needs a GPU, inside ten minutes, from a checkout: tests, benchmarks, sanitizers, and a report.
#
#   bench/on_gpu.sh OUT [--data DIR]    the same command goes on with what was cut off
#   bench/on_gpu.sh --plan              stages, limits and commands; runs nothing
#   bench/on_gpu.sh OUT --rehearse      every stage on the CPU, as small as it gets: before a GPU is asked for
#
# torch, triton, pytest, pytest-benchmark and pytest-xdist must be there, the package need not be installed.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$here
exec "$(command -v python3 || command -v python)" -m bench.on_gpu "$@"
