#!/usr/bin/env bash
# SupSup, Figure 11 (right): what Transfer saves; the first task has 250 epochs, the others 50 with Transfer and 100 without.
#
#   needs     CIFAR-100 in $SUPERMASKS_DATA/cifar100; or another set of the options of split-cifar: --dataset cifar10 --tasks 5
#   cost      12 runs a seed of 20 tasks; a GPU
#   usage     papers/supsup-figure-11-transfer.sh [OUT=runs/figure-11-transfer] [SEEDS="0"] [further options, such as --device cuda]
#
# Expected (paper): at each budget Transfer is better in half of the steps.
set -euo pipefail
out="${1:-runs/figure-11-transfer}"
seeds="${2:-0}"
shift $(($# < 2 ? $# : 2))

for seed in $seeds; do
  for budget in 1 2 4 8 16 32; do
    for way in "none 100" "scores 50"; do
      read -r transfer epochs <<<"$way"
      supermasks run split-cifar --budget "$budget" --transfer "$transfer" --later-epochs "$epochs" --seed "$seed" \
        --out "$out/$transfer-budget-$budget-seed$seed" --resume "$@"
    done
  done
done
supermasks report "$out" --out "$out/report"
