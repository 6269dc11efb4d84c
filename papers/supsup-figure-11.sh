#!/usr/bin/env bash
# SupSup, Figure 11 (left): RotatedMNIST, from One-Shot (gamma = 1/36) to Binary (gamma = 1/2), by full batches of 128 images.
#
#   needs     MNIST: supermasks data fetch mnist
#   cost      36 tasks of FC 1024-1024 are learned once for each seed (10 minutes on two cores); copies of the bank are evaluated
#   usage     papers/supsup-figure-11.sh [OUT=runs/figure-11] [SEEDS="0"] [further options]
#
# Expected (paper): accuracy grows with gamma, and little above 1/4; Binary 96.13 (Table 6).
set -euo pipefail
out="${1:-runs/figure-11}"
seeds="${2:-0}"
shift $(($# < 2 ? $# : 2))

for seed in $seeds; do
  first=""
  for gamma in 0.0278 0.0625 0.125 0.25 0.375 0.5; do
    run="$out/gamma-$gamma-seed$seed"
    if [ -n "$first" ] && [ ! -e "$run/run.json" ]; then # what is learned does not depend on gamma
      mkdir -p "$run"
      cp -r "$first/bank" "$first/learned.jsonl" "$run"
      sed "s/\"gamma\": [0-9.]*/\"gamma\": $gamma/" "$first/run.json" >"$run/run.json"
    fi
    supermasks run rotated-mnist --inference top-gamma --gamma "$gamma" --seed "$seed" --out "$run" --resume "$@"
    first="${first:-$run}"
  done
done
supermasks report "$out" --out "$out/report"
