# Installs what building and running Lockstep needs on Debian 12 or Ubuntu, and nothing twice. Sourced by
# quickstart.sh, tests/run.sh and bench scripts; defines functions only.

LOCKSTEP_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LOCKSTEP_CACHE=${LOCKSTEP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lockstep}
LOCKSTEP_ONEDNN=$LOCKSTEP_CACHE/onednn-3.2

BUILD_PACKAGES="gcc g++ cmake ninja-build pkg-config python3 python3-venv libopenmpi-dev openmpi-bin libhdf5-dev librandom123-dev
  libyaml-dev libjansson-dev libjpeg-dev libspng-dev libwebp-dev libzip-dev libxxhash-dev libhwloc-dev libprotobuf-c-dev
  protobuf-c-compiler zlib1g-dev gnuplot-nox"
DATA_PACKAGES="dataset-fashion-mnist"
TEST_PACKAGES="libcmocka-dev mpich libmpich-dev clang-format clang-tidy hdf5-tools chromium patchelf"

say() { printf '%s\n' "$*" >&2; }

missing_packages() {
  local package
  for package in "$@"; do
    case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
      *"install ok installed"*) ;;
      *) printf '%s ' "$package" ;;
    esac
  done
}

# install_packages NAME...: installs those that are missing; without the right to do so, says what an administrator would run.
install_packages() {
  local missing run=""
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "This system has no apt. Lockstep needs: a C17 compiler, CMake 3.25, MPI, HDF5, oneDNN 3, and the libraries of these Debian packages:"
    say "  $(echo "$@")"
    exit 1
  fi
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      run="sudo -n"
    else
      say "Some packages are missing and this account may not install them. An administrator would run:"
      say "  apt-get update && apt-get install -y --no-install-recommends $missing"
      exit 1
    fi
  fi
  say "installing: $missing"
  $run env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  # shellcheck disable=SC2086
  $run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
}

# Puts oneDNN 3 (the build with gcc's OpenMP) into the cache, unless the system has one.
install_onednn() {
  if [ -e "$LOCKSTEP_ONEDNN/lib/cmake/dnnl/dnnl-config.cmake" ]; then return 0; fi
  local work
  work=$(mktemp -d)
  say "fetching oneDNN 3.2 into $LOCKSTEP_ONEDNN"
  python3 -m venv "$work/venv" >&2
  "$work/venv/bin/pip" -q download --no-deps -d "$work/wheels" onednn-cpu-gomp==2023.2.0 onednn-devel-cpu-gomp==2023.2.0 >&2
  for wheel in "$work"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$work/tree"; done
  mkdir -p "$work/prefix"
  cp -r "$work"/tree/*.data/data/* "$work/prefix/"
  # The wheel stores the library three times under its three names; one file and two links say the same.
  (cd "$work/prefix/lib" && real=$(ls libdnnl.so.*.* | head -n 1) && for name in libdnnl.so libdnnl.so.3; do ln -sf "$real" "$name"; done)
  mkdir -p "$LOCKSTEP_CACHE"
  rm -rf "$LOCKSTEP_ONEDNN"
  mv "$work/prefix" "$LOCKSTEP_ONEDNN"
  rm -rf "$work"
}

# build_lockstep FOLDER [CMAKE ARGUMENT...]: configures once and builds what changed.
build_lockstep() {
  local folder=$1
  shift
  mkdir -p "$folder"
  if [ ! -e "$folder/build.ninja" ]; then
    cmake -S "$LOCKSTEP_ROOT" -B "$folder" -G Ninja -DLOCKSTEP_ONEDNN_ROOT="$LOCKSTEP_ONEDNN" "$@" >"$folder/build.log" 2>&1 ||
      { cat "$folder/build.log" >&2; return 1; }
  fi
  cmake --build "$folder" >"$folder/build.log" 2>&1 || { cat "$folder/build.log" >&2; return 1; }
}

# mpirun as root is refused by Open MPI unless asked for; containers are root.
mpi_run() {
  local as_root=""
  [ "$(id -u)" != 0 ] || as_root="--allow-run-as-root"
  mpirun $as_root "$@"
}
