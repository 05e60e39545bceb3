#!/usr/bin/env bash
# Everything that needs a GPU, inside eight minutes: tests, sanitizers, benchmarks.
#
# Usage: bench/on_gpu.sh OUT [data dir]
#
# Leaves in OUT: gpu.html, gpu.md and gpu.png (the report), a .json of pytest-benchmark for each kind of benchmark, and
# log.txt.
# Runs from a checkout; torch, triton, pytest and pytest-benchmark must be there. Most of the tests' time is compiling
# kernels: with pytest-xdist they are compiled side by side.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$1
data=${2:-}
python=$(command -v python3 || command -v python)
mkdir -p "$out" build/lib
log=$out/log.txt
# Without an installed package: lay the import package out as setup.py does.
rm -rf build/lib/mde_fast && mkdir build/lib/mde_fast
ln -s "$PWD"/mde_fast/* build/lib/mde_fast/
ln -s "$PWD/kernels" build/lib/mde_fast/kernels
export PYTHONPATH=$PWD/build/lib:$PWD PYTHONUNBUFFERED=1
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | tee "$log"
failed=0

stage() { # NAME SECONDS COMMAND...: what is done when the time is up is kept, since pytest reports after a SIGINT
    local name=$1 seconds=$2 verdict=passed began=$SECONDS code
    shift 2
    echo "== $name" >>"$log"
    timeout -s INT -k 10 "$seconds" "$@" >>"$log" 2>&1
    code=$?
    [ $code -eq 124 ] && verdict="cut off after $seconds s"
    [ $code -ne 0 ] && failed=1 && [ $code -ne 124 ] && verdict="failed ($code)"
    echo "$name: $verdict, $((SECONDS - began)) s; $(tail -n 1 "$log")"
}

pytest=("$python" -P -m pytest -q -o addopts= -p no:cacheprovider)
workers=()
"$python" -c "import xdist" 2>/dev/null && workers=(-n 12)
stage "whole model" 50 "${pytest[@]}" tests/test_training_step.py tests/models -k "gpu or graph or wait"
stage "operators" 130 "${pytest[@]}" "${workers[@]}" tests/kernels -k "triton and not machine_code"
for tool in memcheck racecheck; do
    if command -v compute-sanitizer >/dev/null; then
        # One test or a few of each operator, with rows long enough to be split.
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 stage "$tool" 40 compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "${pytest[@]}" -x tests/kernels -k "triton and (repeats or long_rows or many_triples or every_draw)"
    else
        echo "$tool: not run, compute-sanitizer is not installed" | tee -a "$log"
    fi
done
results=()
benchmark() { # NAME SECONDS OPTIONS...
    local name=$1 seconds=$2
    shift 2
    stage "bench $name" "$seconds" "${pytest[@]}" "bench/test_$name.py" --device cuda --seconds 1 \
        ${data:+--data-dir "$data"} --benchmark-json "$out/$name.json" "$@"
    [ -s "$out/$name.json" ] && results+=("$out/$name.json")
}
benchmark model 90 --dataset clothing
benchmark products 65 --edges 100000,1000000,10000000,100000000 --no-compile
benchmark operators 30 --dataset clothing
benchmark edges 30 --dataset clothing --edges 1000000
benchmark accelerate 30 --dataset clothing --edges ""
[ ${#results[@]} -gt 0 ] && "$python" -P -m bench.report "${results[@]}" \
    --markdown "$out/gpu.md" --html "$out/gpu.html" --chart "$out/gpu.png"
exit $failed
