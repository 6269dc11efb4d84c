#!/usr/bin/env bash
# ExSSNeT, Tables 2, 3, 4, 8, 11 and 12: SplitMNIST, SplitCIFAR-100, SplitTinyImageNet, SplitImageNet; masks of density 0.1.
#
#   needs     MNIST, CIFAR-100, TinyImageNet and ImageNet in $SUPERMASKS_DATA; a set that is not there is left out
#   cost      SplitMNIST: minutes. SplitCIFAR-100: 5 tasks x 200 epochs x 10,000 images = 10 million images a run, 18 runs.
#             TinyImageNet: 60 epochs x 100,000 images, ResNet-50, 18 runs. ImageNet: as supsup-splitimagenet.sh. A GPU
#   usage     papers/exssnet-vision.sh [OUT=runs/exssnet-vision] [SEEDS="0 1 2"] [further options, such as --device cuda --precision bfloat16]
#
# Expected (paper, percent; in parentheses forgetting):
#
#                       SplitMNIST   SplitCIFAR-100  SplitTinyImageNet   + KKT: MNIST  CIFAR  Tiny    sparse overlap, without and with KKT
#   SupSup                99.6           62.1             50.6              99.6       67.1   53.3    22.6 18.9 18.1    46.4 48.3 52.4
#   SSNeT                 99.7           23.9 (54.4)      49.6 (1.9)        99.3       23.5   51.8    22.5 17.6 18.6    52.7 49.9 52.4
#   ExSSNeT               99.7           67.3             52.0              99.7       70.5   54.0    22.5 17.3 18.5    47.8 48.8 52.4
#   individual            99.7           75.5             53.7
#   100 tasks of TinyImageNet (Table 4): SupSup 90.34, SSNeT 89.02 (2.2), ExSSNeT 91.21; overlap 90
#   SplitImageNet, 10 tasks of 100 (Table 8): SupSup 68.07, ExSSNeT 74.77
#   class-incremental TinyImageNet, 10 tasks (Table 12): SupSup 10.27, ExSSNeT 11.21
#
# Epochs are those of mask and weights together (the paper: so many for each); SupSup gets all of them for its mask.
set -euo pipefail
out="${1:-runs/exssnet-vision}"
seeds="${2:-0 1 2}"
shift $(($# < 2 ? $# : 2))

go() { # a run that is there already, finished or not, is gone on with; without its data it is left out
  local name="$1" seed="$2" experiment="$3"
  shift 3
  supermasks run "$experiment" --seed "$seed" --out "$out/$name-seed$seed" --resume "$@" || echo "left out: $name" >&2
}

tiny=(--dataset tiny-imagenet --density 0.1 --epochs 60 --batch-size 128 --warmup 0)
for seed in $seeds; do
  for method in supsup ssnet exssnet; do
    for transfer in none kkt; do
      go "mnist-$method-$transfer" "$seed" split-mnist --method "$method" --density 0.1 --transfer "$transfer" \
        --steps 5640 --optimiser adam --learning-rate 1e-3 --schedule cosine
      go "cifar-$method-$transfer" "$seed" split-cifar --tasks 5 --method "$method" --density 0.1 --epochs 200 \
        --transfer "$transfer" "$@"
      go "tiny-$method-$transfer" "$seed" split-imagenet --tasks 5 --method "$method" --transfer "$transfer" "${tiny[@]}" "$@"
    done
    go "tiny100-$method" "$seed" split-imagenet --tasks 100 --method "$method" "${tiny[@]}" "$@"
    go "tiny10-$method" "$seed" split-imagenet --tasks 10 --method "$method" "${tiny[@]}" "$@"
  done
  for method in supsup exssnet; do
    go "imagenet-$method" "$seed" split-imagenet --tasks 10 --method "$method" --density 0.1 "$@"
    go "incremental-$method" "$seed" class-incremental --method "$method" "$@"
  done
  # Not in the paper: mask and weights in the same steps.
  go "cifar-exssnet-together" "$seed" split-cifar --tasks 5 --method exssnet --together --density 0.1 --epochs 200 "$@"
done
supermasks report "$out" --out "$out/report"
