#!/bin/sh
# Everything that needs a GPU, in one call: full model and control of equal length, test figures, ablation, speed.
#
#     sh tests/bench/train_on_gpu.sh DATA OUT [MINUTES]
#
# DATA holds BraTS studies; OUT gets weights, curves and figures. Run it again after a cut: it goes on where it was.
set -eu
data=$1
out=$2
minutes=${3:-120}
mkdir -p "$out"
cmdiff-dicom train --data "$data" --out "$out/full" --device cuda --steps 60000 --minutes "$minutes" --name gpu
cmdiff-dicom train --data "$data" --out "$out/control" --device cuda --steps 60000 --minutes "$minutes" --name gpu-control --control
cmdiff-dicom evaluate --data "$data" --part test --weights "$out/full/weights.safetensors" --json "$out/test.json" \
    --predictions "$out/predictions" --pictures "$out/pictures" --robustness --device cuda
cmdiff-dicom ablate --data "$data" --weights "$out/full/weights.safetensors" --control "$out/control/weights.safetensors" \
    --json "$out/ablation.json" --device cuda | tee "$out/ablation.txt"
python "$(dirname "$0")/bench_network.py" --device cuda --json "$out/speed.json" | tee "$out/speed.txt"
