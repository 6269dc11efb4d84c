#!/usr/bin/env bash
# SupSup, Figures 3 and 4, Tables 3, 4, 5, 8 and 9: PermutedMNIST in scenario GNu, by H and by G, for each number of outputs.
#
#   needs     MNIST: supermasks data fetch mnist
#   cost      about 2.2 s a task of LeNet 300-100 on two cores, 12 s of FC 1024-1024; then the recognition, 3 to 5 ms a decision
#             on each core. 250 tasks are evaluated at all of 10, 50, 100, 150, 200 and 250.
#   usage     papers/supsup-permuted-mnist.sh [OUT=runs/permuted] [SEEDS="0"] [further options, such as --workers 2]
#
# Expected (paper, percent, after 10 and 250 tasks, H / G; of 2,500 tasks: after 500 and 2,500):
#
#   LeNet 300-100    s =  25     93.71 93.83   92.94 93.36          FC 1024-1024    s =  25     82.28 96.31   57.03 88.19
#                    s = 100     93.65 93.69   93.62 93.63                          s = 100     95.90 96.31   92.84 94.88
#                    s = 200     93.46 93.46   93.46 93.46                          s = 200     96.28 96.28   95.66 95.92
#   2,500 tasks      s = 500     93.49 93.49   93.45 93.45
set -euo pipefail
out="${1:-runs/permuted}"
seeds="${2:-0}"
shift $(($# < 2 ? $# : 2))

go() { # a run that is there already, finished or not, is gone on with
  local name="$1" seed="$2"
  shift 2
  supermasks run permuted-mnist --scoring first-of-batch --seed "$seed" --out "$out/$name-seed$seed" --resume "$@"
}

for seed in $seeds; do
  for net in lenet-300-100 fc-1024-1024; do
    for outputs in 25 100 200; do
      go "$net-$outputs-250" "$seed" --tasks 250 --net "$net" --outputs "$outputs" "$@"
    done
  done
  go lenet-300-100-500-2500 "$seed" --tasks 2500 --outputs 500 --no-exact --checkpoint-images 1280 "$@"
done
supermasks report "$out" --out "$out/report"
