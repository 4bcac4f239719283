#!/usr/bin/env bash
# The whole of Lockstep in one command: install, build, pack Fashion-MNIST, train on two ranks, evaluate, predict, and show that
# one rank and two ranks give the same bits. A second run neither downloads nor rebuilds.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=jobs/setup.sh
. "$here/jobs/setup.sh"

work=${1:-$here/build/quickstart}
idx=/usr/share/datasets/fashion-mnist
# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES $DATA_PACKAGES
install_onednn
# Without the CUDA module, which takes minutes to compile: two ranks train here, on the processor.
build_lockstep "$here/build/release" -DCMAKE_BUILD_TYPE=Release -DLOCKSTEP_TESTS=OFF -DLOCKSTEP_CUDA=OFF
lockstep=$here/build/release/bin/lockstep
mkdir -p "$work"
cd "$work"
started=$(date +%s)

step() { printf '\n== %s\n' "$*"; }

step "pack: 70,000 images into one HDF5 file"
[ -e fashion-mnist.h5 ] ||
  "$lockstep" pack "$idx" fashion-mnist.h5 --val 5000 \
    --classes "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"

step "train: cifar_resnet8 on two ranks"
mpi_run -n 2 "$lockstep" train "$here/jobs/recipes/fashion-mnist.yaml" --run run --overwrite

step "eval: the checkpoint with the best validation macro-F1, on the 10,000 test images"
"$lockstep" eval run/checkpoints/best_f1.h5 fashion-mnist.h5 --split test

step "predict: ten image files into a CSV"
python3 - "$idx" images <<'PY'
import gzip, os, struct, sys, zlib
source, folder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
pixels = gzip.open(os.path.join(source, "t10k-images-idx3-ubyte.gz")).read()[16:]
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
for i in range(10):
    image = pixels[i * 784:(i + 1) * 784]
    rows = b"".join(b"\0" + image[y * 28:y * 28 + 28] for y in range(28))
    with open(os.path.join(folder, f"{i:02}.png"), "wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0)) +
                  chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
PY
"$lockstep" predict run/checkpoints/best_f1.h5 images -o predictions.csv
cat predictions.csv

step "the same bits: fifty updates on one rank and on two"
recipe=$here/jobs/recipes/fashion-mnist.yaml
"$lockstep" train "$recipe" max_updates=50 --run same-1 --overwrite | tee same-1.txt | tail -n 1
mpi_run -n 2 "$lockstep" train "$recipe" max_updates=50 --run same-2 --overwrite | tee same-2.txt | tail -n 1
one=$(tail -n 1 same-1.txt) two=$(tail -n 1 same-2.txt)
if [ -z "$one" ] || [ "${one##* }" != "${two##* }" ]; then
  say "one rank and two ranks differ: this is a bug, please report it"
  exit 1
fi
step "done in $(($(date +%s) - started)) s after installing; everything is in $work"
