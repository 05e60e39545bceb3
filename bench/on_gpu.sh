#!/usr/bin/env bash
# Everything that needs a GPU, inside eight minutes: operator tests, sanitizers, benchmarks.
# Usage: bench/on_gpu.sh OUT [data dir]
# Leaves OUT/gpu.json (pytest-benchmark's format) and OUT/*.txt. Runs from a checkout; torch and triton must be there.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$1
data=${2:-}
mkdir -p "$out" build/lib
# Without an installed package: lay the import package out as setup.py does.
rm -rf build/lib/mde_fast && mkdir build/lib/mde_fast
ln -s "$PWD"/mde_fast/* build/lib/mde_fast/
ln -s "$PWD/kernels" build/lib/mde_fast/kernels
export PYTHONPATH=$PWD/build/lib:$PWD
status=0
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | tee "$out/machine.txt"
timeout 130 python -P -m pytest tests/kernels tests/models -q -p no:cacheprovider >"$out/tests.txt" 2>&1 || status=1
tail -n 3 "$out/tests.txt"
sanitizer=$(command -v compute-sanitizer || true)
for tool in memcheck racecheck; do
    if [ -n "$sanitizer" ]; then
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout 45 "$sanitizer" --tool "$tool" --error-exitcode 9 \
            python -P -m pytest tests/kernels -q -x -k "triton and (hub or options)" -p no:cacheprovider >"$out/$tool.txt" 2>&1 || status=1
        tail -n 3 "$out/$tool.txt"
    else
        echo "compute-sanitizer is not installed: $tool not run" | tee "$out/$tool.txt"
    fi
done
timeout 80 python -P -m pytest bench/test_accelerate.py -q --device cuda --edges 1000000 --dataset clothing --seconds 1 \
    ${data:+--data-dir "$data"} --benchmark-json "$out/accelerate.json" -p no:cacheprovider >"$out/accelerate.txt" 2>&1 || status=1
tail -n 3 "$out/accelerate.txt"
timeout 165 python -P -m pytest bench --ignore bench/test_accelerate.py -q --device cuda --edges 100000,1000000,10000000,100000000 --seconds 1 \
    ${data:+--data-dir "$data"} --benchmark-json "$out/gpu.json" -p no:cacheprovider >"$out/bench.txt" 2>&1 || status=1
tail -n 3 "$out/bench.txt"
results=()
for result in gpu accelerate; do
    [ -f "$out/$result.json" ] && results+=("$out/$result.json")
done
[ ${#results[@]} -gt 0 ] && python -P -m bench.report "${results[@]}" --markdown "$out/gpu.md" --chart "$out/gpu.png"
exit $status
