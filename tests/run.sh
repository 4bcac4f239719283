#!/usr/bin/env bash
# Installs what the tests need and runs them. bash tests/run.sh [quick | all | long]
#   quick  the inner loop: release build, unit, op and MPI tests (two minutes)
#   all    (default) also sanitizers, MPICH, parity with PyTorch, faults, lint
#   long   also clang-tidy over all sources, and the recipes of jobs/recipes/comparison from end to end
# Ends with a line "N passed, N failed, N skipped".
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=jobs/setup.sh
. "$root/jobs/setup.sh"
mode=${1:-all}
case $mode in quick | all | long) ;; *)
  say "usage: bash tests/run.sh [quick | all | long]"
  exit 2
  ;;
esac
build=$root/build/tests
results=$build/results
mkdir -p "$results"
rm -f "$results"/*.xml
failed_steps=0

step() {
  local name=$1 started
  shift
  started=$(date +%s)
  printf '== %s\n' "$name"
  if "$@" >"$results/$name.log" 2>&1; then
    printf '   ok, %s s\n' "$(($(date +%s) - started))"
  else
    printf '   FAILED after %s s; the end of its log:\n' "$(($(date +%s) - started))"
    tail -n 40 "$results/$name.log" | sed 's/^/   | /'
    failed_steps=$((failed_steps + 1))
  fi
}

run_ctest() { # NAME FOLDER CTEST-ARGUMENTS
  local name=$1 folder=$2
  shift 2
  ctest --test-dir "$folder" -j "$(nproc)" --output-on-failure --output-junit "$results/ctest-$name.xml" --timeout 600 "$@"
}

install_python() {
  local venv=$LOCKSTEP_CACHE/test-venv wanted=$root/tests/requirements.txt
  if ! cmp -s "$wanted" "$venv/installed.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv" && "$venv/bin/pip" -q install -r "$wanted" && cp "$wanted" "$venv/installed.txt"
  fi
}

run_pytest() { # NAME PATH...
  local name=$1
  shift
  LOCKSTEP_BUILD=$build/release LOCKSTEP_PHOTOS=${LOCKSTEP_PHOTOS:-$root/../shared/data/clothing-small} \
    "$LOCKSTEP_CACHE/test-venv/bin/python" -m pytest -q -rs --junitxml="$results/pytest-$name.xml" -p no:cacheprovider "$@"
}

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES $DATA_PACKAGES $TEST_PACKAGES || exit 1
install_onednn || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PYTHONDONTWRITEBYTECODE=1

# One kind of GPU compiles in a sixth of the time of all.
step build-release build_lockstep "$build/release" -DCMAKE_BUILD_TYPE=Release -DLOCKSTEP_WERROR=ON -DLOCKSTEP_CUDA_ARCHITECTURES=90
if [ "$mode" = quick ]; then step ctest run_ctest release "$build/release" -LE slow; else step ctest run_ctest release "$build/release"; fi
if [ "$mode" != quick ]; then
  step build-sanitizers build_lockstep "$build/sanitizers" -DCMAKE_BUILD_TYPE=Debug -DLOCKSTEP_SANITIZE=ON -DLOCKSTEP_WERROR=ON
  step ctest-sanitizers env ASAN_OPTIONS=detect_leaks=0 bash -c "$(declare -f run_ctest); results='$results' run_ctest sanitizers '$build/sanitizers' -L 'unit|fuzz|gpu'"
  step build-mpich build_lockstep "$build/mpich" -DCMAKE_BUILD_TYPE=Release -DLOCKSTEP_WERROR=ON -DLOCKSTEP_CUDA=OFF \
    -DMPI_C_COMPILER=mpicc.mpich -DMPIEXEC_EXECUTABLE=/usr/bin/mpiexec.mpich
  step ctest-mpich run_ctest mpich "$build/mpich" -L mpi
  step python install_python
  for folder in lint ops gpu parity faults slurm; do
    if compgen -G "$root/tests/$folder/test_*.py" >/dev/null; then
      # clang-tidy over all sources takes many minutes: in the long lane.
      if [ "$folder" = lint ] && [ "$mode" != long ]; then set -- -k "not tidy"; else set --; fi
      # Side by side where no test measures a launch of several ranks or a moment in time.
      if [ "$folder" = parity ] || [ "$folder" = gpu ]; then set -- -n "$(nproc)" --dist worksteal; fi
      # PyTorch's threads beside each other's on the same cores would take twice the time.
      if [ "$folder" = parity ]; then export OMP_NUM_THREADS=1; else unset OMP_NUM_THREADS; fi
      step "pytest-$folder" run_pytest "$folder" "$root/tests/$folder" "$@"
    fi
  done
fi
# A night's job at a reduced size: many minutes.
if [ "$mode" = long ]; then step pytest-long run_pytest long "$root/tests/long"; fi
python3 "$root/tests/count.py" "$results" "$failed_steps"
