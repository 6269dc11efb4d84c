#!/usr/bin/env bash
# ExSSNeT, Figures 2, 3 and 5: accuracy against the density of the masks, 0.02 to 0.9.
#
#   needs     CIFAR-100 in $SUPERMASKS_DATA/cifar100; or another set of the options of split-cifar: --dataset cifar10
#   cost      11 densities x 3 methods x (5 tasks x 200 epochs x 10,000 images, and one task of all classes): a GPU
#   usage     papers/exssnet-density.sh [OUT=runs/exssnet-density] [SEEDS="0 1 2"] [further options, such as --device cuda]
#
# Expected (paper): 5 tasks, ExSSNeT above SupSup by 7.9, 18.4, 8.4 and 4.7 points at 0.02, 0.04, 0.06 and 0.08, and close
# to it from 0.5 on; SSNeT above SupSup where overlap is low, far below where it is high. One task of all 100 classes
# (Figure 2): SupSup at least 8.3 points below the fully trained network (63.9), SSNeT and ExSSNeT level with it.
set -euo pipefail
out="${1:-runs/exssnet-density}"
seeds="${2:-0 1 2}"
shift $(($# < 2 ? $# : 2))

for seed in $seeds; do
  for density in 0.02 0.04 0.06 0.08 0.1 0.2 0.3 0.5 0.7 0.8 0.9; do
    for method in supsup ssnet exssnet; do
      for tasks in 5 1; do
        supermasks run split-cifar --tasks "$tasks" --epochs 200 --method "$method" --density "$density" --seed "$seed" \
          --out "$out/$method-$density-tasks$tasks-seed$seed" --resume "$@"
      done
    done
  done
done
supermasks report "$out" --out "$out/report"
