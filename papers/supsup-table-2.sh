#!/usr/bin/env bash
# SupSup, Table 2 and Figure 2 (right): SplitCIFAR-100, 20 tasks of 5 random classes, ResNet-18 of 20 channels, 250 epochs.
#
#   needs     CIFAR-100: supermasks data fetch cifar100, or its binary or python files in $SUPERMASKS_DATA/cifar100
#   cost      20 tasks x 250 epochs x 2,500 images = 12.5 million images a run: 16 runs a seed; a GPU
#   usage     papers/supsup-table-2.sh [OUT=runs/table-2] [SEEDS="0 1 2 3 4"] [further options, such as --device cuda --precision bfloat16]
#
# Expected (paper, percent, by budget 1 2 4 8 16 32; bytes are those of 20 tasks as the paper counts them):
#
#   SupSup                  77.56  83.62  86.45  88.09  89.06  89.57
#   SupSup, Transfer        79.53  85.33  88.52  90.12  91.31  91.66
#   bytes                 408,432 508,432 695,592 1,035,792 1,630,032 2,487,472
#   upper bound (warm)      91.62        separate heads  70.60        separate heads, random trunk  50.00
#   lower bound             24.5  (Section 4.1)
set -euo pipefail
out="${1:-runs/table-2}"
seeds="${2:-0 1 2 3 4}"
shift $(($# < 2 ? $# : 2))

go() { # a run that is there already, finished or not, is gone on with
  local name="$1" seed="$2"
  shift 2
  supermasks run split-cifar --seed "$seed" --out "$out/$name-seed$seed" --resume "$@"
}

for seed in $seeds; do
  for budget in 1 2 4 8 16 32; do
    go "supsup-$budget" "$seed" --budget "$budget" "$@"
    go "transfer-$budget" "$seed" --budget "$budget" --transfer scores "$@"
  done
  for method in individual-warm separate-heads separate-heads-random sequential; do
    go "$method" "$seed" --method "$method" "$@"
  done
done
supermasks report "$out" --out "$out/report"
