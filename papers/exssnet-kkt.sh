#!/usr/bin/env bash
# ExSSNeT, Figure 4 and Tables 9 and 10: how fast tasks are learned with KKT, and what its two numbers do.
#
#   needs     CIFAR-100 in $SUPERMASKS_DATA/cifar100; or another set of the options of split-cifar: --dataset cifar10
#   cost      12 runs a seed of 5 tasks x 200 epochs x 10,000 images; a GPU
#   usage     papers/exssnet-kkt.sh [OUT=runs/exssnet-kkt] [SEEDS="0 1 2"] [further options, such as --device cuda]
#
# Expected (paper, percent): k = 1, 5, 10, 20, 50 with 10 batches of 64: 71.38 71.66 71.01 70.46 69.74; 2, 5, 10, 50, 100
# batches with k = 10: 70.65 70.63 71.01 71.07 71.6. Figure 4: with KKT the accuracy at the end without it is reached in
# less than a third of the epochs; the curves (validation accuracy after each epoch) are in `curves` of the records.
set -euo pipefail
out="${1:-runs/exssnet-kkt}"
seeds="${2:-0 1 2}"
shift $(($# < 2 ? $# : 2))

go() {
  local name="$1" seed="$2"
  shift 2
  supermasks run split-cifar --tasks 5 --epochs 200 --method exssnet --density 0.1 --seed "$seed" --out "$out/$name-seed$seed" --resume "$@"
}

for seed in $seeds; do
  go "curve-none" "$seed" --validation 0.1 "$@"
  go "curve-kkt" "$seed" --validation 0.1 --transfer kkt "$@"
  for k in 1 5 10 20 50; do go "k$k" "$seed" --transfer kkt --neighbours "$k" "$@"; done
  for batches in 2 5 50 100; do go "batches$batches" "$seed" --transfer kkt --kkt-examples "$((64 * batches))" "$@"; done
done
supermasks report "$out" --out "$out/report"
