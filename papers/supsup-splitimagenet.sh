#!/usr/bin/env bash
# SupSup, Figure 2 (left): SplitImageNet, 100 tasks of 10 random classes, ResNet-50, 100 epochs.
#
#   needs     ImageNet in its standard folders: $SUPERMASKS_DATA/imagenet/{train,val}/WNID/*.JPEG
#   cost      100 tasks x 100 epochs x 13,000 images = 128 million images a run; a GPU
#   usage     papers/supsup-splitimagenet.sh [OUT=runs/splitimagenet] [SEED=0] [further options, such as --device cuda --precision bfloat16]
#
# Expected (paper, percent and bytes of all tasks): SupSup 86.37 (65.50 MB), 88.68 (100.98 MB), 89.58 (195.18 MB); upper bound
# 92.55 (10,222.81 MB), BatchE 81.50 (124.99 MB). The paper does not name the budgets of its three rows: compare by bytes.
set -euo pipefail
out="${1:-runs/splitimagenet}"
seed="${2:-0}"
shift $(($# < 2 ? $# : 2))

for budget in 1 2 4 8 16 32; do
  supermasks run split-imagenet --seed "$seed" --budget "$budget" --out "$out/supsup-$budget-seed$seed" --resume "$@"
done
supermasks report "$out" --out "$out/report"
