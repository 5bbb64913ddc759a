#!/bin/sh
# Every scorer that offers run.device cuda, on a GPU and on the CPU beside it: ResNet50, 1, 8 and 32 data points a call;
# and one run on the GPU. It has not been run on a GPU yet.
#
#   sh benchmarks/gpu.sh [OUT]     at most 8 minutes; OUT (results/gpu-benchmark) gets gpu.json, gpu.md, logs and a run
#
# It needs no network, and makes nothing itself. What the machine must have:
# - a GPU of NVIDIA's that nvidia-smi shows, with a driver of 580.65.06 or newer (CUDA 13; TensorFlow's CUDA 12 takes older
#   ones too); 16 cores, 32 GB of memory and 15 GB of free GPU memory are enough;
# - this checkout with what `make environments CONFIG=gpu` makes on a machine with a network (about 25 GB in resources/),
#   and the Python 3.11 of that machine at its place. Both come along by a disk that both machines see, or by an image:
#     podman build -t crayfish --build-arg CONFIG=gpu -f container/Containerfile .
#     podman run --rm --device nvidia.com/gpu=all --network none --volume "$PWD:/work" --entrypoint sh crayfish \
#       /crayfish/benchmarks/gpu.sh /work/gpu-benchmark
#   A folder of a few MB, such as the checkout alone, is not enough: this script says what lacks, within a second.
set -u
out=${1:-results/gpu-benchmark}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$(dirname "$0")/.." || exit 1
mkdir -p "$out" || exit 1

faults=0
lacks() {
  echo "gpu.sh: $*" >&2
  faults=1
}
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,driver_version,memory.total,memory.free,clocks.sm,pstate --format=csv || lacks "nvidia-smi fails"
else
  lacks "nvidia-smi, the program of NVIDIA's driver, is not on PATH"
fi
python=resources/environments/harness/python
"$python" -c "" 2>/dev/null || lacks "$python does not start: make environments CONFIG=gpu, where there is a network"
[ "$faults" = 0 ] || exit 1

export PYTHONPATH=workflow/scripts
# 450 s for itself, and as long as a server takes to stop after it.
timeout --kill-after=20 450 "$python" benchmarks/gpu.py --at-most-s 430 --out "$out" >"$out/gpu.md"
status=$?
cat "$out/gpu.md"
exit "$status"
