#!/usr/bin/env bash
# Runs on a GPU what the other checks leave out: the tests of a device, the benchmarks, and the largest run that fits.
#
#   usage     tools/gpu.sh [--data FOLDER] [--wheels FOLDER] [--minutes 12]
#             tools/gpu.sh --check     the same on the CPU with tiny sizes, to see that the script works
#
#   data      a folder with the files of MNIST; without it the embedded sample is used
#   wheels    for a machine without a network: a folder with the wheels of packages that it lacks,
#             such as constriction
#   OUT       where the results go (default runs/gpu): summary.txt, one log a step, and run.json
#   PYTHON    the interpreter (default python3); its torch is used if it sees a GPU, otherwise torch is installed
#
# Each step has its own time limit, and all of them together end before --minutes are over. A step that fails, or is
# stopped, does not keep the others from running. The exit status is 0 if all steps passed.
set -euo pipefail

data="" wheels="" minutes=12 check=""
while (($#)); do
    case "$1" in
    --data) data="$(realpath "$2")" && shift 2 ;;
    --wheels) wheels="$(realpath "$2")" && shift 2 ;;
    --minutes) minutes="$2" && shift 2 ;;
    --check) check=yes && shift ;;
    *)
        sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="${OUT:-runs/gpu}"
mkdir -p "$out"
out="$(realpath "$out")"
python="${PYTHON:-python3}"
device=cuda
[[ -n $check ]] && device=cpu
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
end=$((SECONDS + 60 * minutes - 15)) # what is left over is for starting and stopping
failed=0
: >"$out/summary.txt"

say() { printf '%s\n' "$*" | tee -a "$out/summary.txt"; }
left() { echo $((end - SECONDS)); }

# step NAME SECONDS COMMAND...: runs a command for so many seconds at most, and writes down how it ended
step() {
    local name="$1" limit="$2" start=$SECONDS status=0
    shift 2
    ((limit > $(left))) && limit=$(left)
    if ((limit < 5)); then
        say "$name: left out, no time is left"
        failed=1
        return
    fi
    timeout -k 5 "$limit" "$@" >"$out/$name.txt" 2>&1 || status=$?
    case $status in
    0) say "$name: passed in $((SECONDS - start)) s" ;;
    124 | 137) say "$name: stopped after $limit s, see $name.txt" && failed=1 ;;
    *) say "$name: failed ($status) after $((SECONDS - start)) s, see $name.txt" && failed=1 ;;
    esac
    tail -n 15 "$out/$name.txt"
}

sees_gpu() { "$1" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; }

# Prepares $python: the machine's own, with the packages it lacks beside it, or a new environment with a torch for CUDA.
prepare() {
    if [[ -n $check ]] || sees_gpu "$python"; then
        local lacking=() name
        for name in constriction safetensors filelock numpy pytest pluggy iniconfig packaging hypothesis sortedcontainers PIL; do
            "$python" -c "import $name" 2>/dev/null || lacking+=("${name/PIL/pillow}")
        done
        if ((${#lacking[@]})); then
            local from=()
            [[ -n $wheels ]] && from=(--no-index --find-links "$wheels")
            timeout 120 "$python" -m pip install -q --no-deps --target "$scratch/site" "${from[@]}" "${lacking[@]}"
        fi
        export PYTHONPATH="$PWD/src:$PWD/tests:$scratch/site"
    else
        "$python" -m venv "$scratch/venv"
        python="$scratch/venv/bin/python"
        timeout 300 "$python" -m pip install -q -c constraints.txt '.[test]'
        export PYTHONPATH="$PWD/src:$PWD/tests"
        sees_gpu "$python" || { say "prepare: torch sees no GPU" && exit 1; }
    fi
    "$python" -c '
import platform, torch, supermasks
where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
print(f"{where}, torch {torch.__version__}, Python {platform.python_version()}, supermasks {supermasks.__version__}")'
}

prepare
say "$("$python" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU", torch.__version__)')"

# -c /dev/null: settings of pytest that newer versions need, and warnings of other torch versions, are left aside.
pytest=("$python" -m pytest -c /dev/null --rootdir . --import-mode importlib -p no:cacheprovider -q)
if [[ -n $check ]]; then
    export OMP_NUM_THREADS=1
    step tests 120 env SUPERMASKS_DEVICE=cpu "${pytest[@]}" tests/device -k "method or bank or together"
    step train_step 60 "$python" benchmarks/train_step.py --device cpu --steps 5 --rounds 1
    step masked_forward 60 "$python" benchmarks/masked_forward.py --device cpu --net lenet-300-100 --rounds 2
    step train_tasks 60 "$python" benchmarks/train_tasks.py --device cpu --ways one-by-one,vmap --tasks 2 --steps 5 --rounds 1
    step task_inference 60 "$python" benchmarks/task_inference.py --device cpu --counts 4 --images 4 --steps 5
    run=(--seconds 15 --at-once 2 --steps 10 --images 8)
else
    step tests 150 env SUPERMASKS_DEVICE=cuda "${pytest[@]}" tests/device tests/masks/test_packing.py tests/test_managing.py
    step train_step 40 "$python" benchmarks/train_step.py --device cuda --rounds 3
    step masked_forward 40 "$python" benchmarks/masked_forward.py --device cuda
    step train_tasks 70 "$python" benchmarks/train_tasks.py --device cuda --ways one-by-one,vmap --tasks 64 --rounds 1
    step task_inference 80 "$python" benchmarks/task_inference.py --device cuda --counts 50,250 --images 200 --steps 20
    run=(--seconds "$(($(left) - 20))")
fi
[[ -n $data ]] && run+=(--data "$data")
step run "$(left)" "$python" tools/gpu_run.py --device "$device" --out "$out/run.json" "${run[@]}"
exit "$failed"
