#!/usr/bin/env bash
# What is worth the minutes of a borrowed GPU, the most urgent first; stopped anywhere, the same command goes on.
#
#     benchmarks/on_a_gpu.sh DATA WEIGHTS RESULTS [MINUTES]
#
# DATA holds cifar-10-batches-py and cifar-100-python, WEIGHTS the public checkpoints. RESULTS holds the records of the study, copied there from
# docs/results the first time; its rows may be copied back. Every part is cut off when the MINUTES (12) are over.
set -euo pipefail
data=$1 weights=$2 results=$3 end=$((SECONDS + ${4:-12} * 60))
cd "$(dirname "$0")/.."
workers=$(nproc) # before OMP_NUM_THREADS, which it heeds
export PYTHONPATH=$PWD OMP_NUM_THREADS=1 PROFILESEARCH_DATA=$data
mkdir -p "$results"
cp -rn docs/results/. "$results"

part() {  # seconds at most, then the command
    local most=$(($1 < end - SECONDS ? $1 : end - SECONDS)) status=0
    shift
    [ "$most" -gt 5 ] || { echo "no time left for: $*"; return; }
    timeout -s INT -k 10 "$most" "$@" || status=$?
    echo "status $status: $*"
}

study() {  # architecture, the network that no search sees, the experiment, the budget, and the pool
    local arch=$1 target=$2 only=$3 keep=$4
    shift 4
    python -m profilesearch.study --arch "$arch" --data cifar10 --checkpoint "$@" --target "$weights/$target" \
        --results "$results" --runs "$results/../runs" --precision bf16 --device cuda --workers "$workers" \
        --only "$only" --keeps "$keep"
}
export -f study
export weights results workers
names="$weights/resnet56-cifar10"

part 60 python -m pytest -q -m 'not survival' -k 'cuda or gpu'
part 60 python benchmarks/replay.py
# 312,000 steps, at some 1,000 a second; rows that are on record are not taken again
part 600 bash -c 'study resnet20 resnet20-cifar10-12fca82f.th truth 0.5 "$@"' _ "$weights/resnet20-cifar10-e4034010.safetensors"
part 600 bash -c 'study resnet20 resnet20-cifar10-12fca82f.th truth 0.3 "$@"' _ "$weights/resnet20-cifar10-e4034010.safetensors"
# 374,000 steps, at some 400 a second
part 900 bash -c 'study resnet56 resnet56-cifar10-4bfd9763.th headline 0.5 "$@"' _ "$names-8a92920c.safetensors" \
    "$names-2d9e562d.safetensors" cifar100:0 cifar100:1
