#!/usr/bin/env bash
# ExSSNeT, Tables 1, 5 and 15: WebNLP (S2 to S8) and GLUE (S1) over frozen token embeddings.
#
#   needs     the data sets as folders in $SUPERMASKS_DATA, each with train.csv and test.csv (or .jsonl), columns label and
#             text (and text_pair for mnli, qqp, qnli): ag yelp amazon yahoo dbpedia, mnli qqp qnli sst2 cola; an encoder
#             that transformers loads, such as BERT-base, in ENCODER; GloVe: supermasks data fetch glove
#   cost      each text is encoded once, 2 bytes x 256 tokens x 768 on disk; then a small network: a GPU for the encoding
#   usage     ENCODER=path/to/bert-base-uncased papers/exssnet-text.sh [OUT=runs/exssnet-text] [SEEDS="0 1 2"] [further options]
#
# Expected (paper, percent; in parentheses forgetting):
#
#                 S1 (GLUE)     S2     S3     S4     S5        sampled S2 over FastText, GloVe, BERT (Table 5; 2,000 texts a class)
#   SupSup        78.3         75.9   76.1   76.0   75.9       54.01  55.52  74.0
#   SSNeT         78.4 (3.6)   76.3   76.3   76.4   76.3       60.41  59.78  74.5
#   ExSSNeT       80.5         77.0   77.1   76.7   76.9       62.52  62.81  74.8
#   individual    87.7         79.5   79.5   79.5   79.5       (BERT itself fine-tuned; here the same network, individually)
#
# On a machine without these sets: --sequence registry, whose five sets `supermasks data fetch` brings.
set -euo pipefail
out="${1:-runs/exssnet-text}"
seeds="${2:-0 1 2}"
encoder="${ENCODER:-minilm}"
shift $(($# < 2 ? $# : 2))

for seed in $seeds; do
  for method in supsup ssnet exssnet individual; do
    supermasks run glue --embeddings "$encoder" --method "$method" --seed "$seed" --out "$out/S1-$method-seed$seed" --resume "$@"
    for sequence in S2 S3 S4 S5 S6 S7 S8; do
      supermasks run webnlp --sequence "$sequence" --embeddings "$encoder" --method "$method" --seed "$seed" \
        --out "$out/$sequence-$method-seed$seed" --resume "$@"
    done
    supermasks run webnlp --embeddings glove --method "$method" --seed "$seed" --out "$out/S2-glove-$method-seed$seed" --resume "$@"
  done
done
supermasks report "$out" --out "$out/report"
