#!/usr/bin/env bash
# Trains the six recipes of jobs/recipes/comparison with three seeds each and compares them:
#   bash jobs/compare-recipes.sh DATA [FOLDER] [KEY=VALUE ...] [options of 'lockstep sweep']
# DATA is a packed data set, or whatever 'lockstep pack' takes; FOLDER (runs/comparison) gets the runs and report.html. A second
# call goes on where the first one ended. LOCKSTEP names the program where it is not on PATH; LOCKSTEP_LAUNCH starts it on several
# ranks, as in LOCKSTEP_LAUNCH="mpirun -n 4".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${1:?usage: bash jobs/compare-recipes.sh DATA [FOLDER] [KEY=VALUE ...]}
shift
folder=runs/comparison
if [ $# -gt 0 ] && [ "${1#*=}" = "$1" ] && [ "${1#-}" = "$1" ]; then
  folder=$1
  shift
fi
lockstep=${LOCKSTEP:-lockstep}

if [ -d "$data" ] || [ "${data##*.}" = csv ]; then
  packed=$folder/data.h5
  mkdir -p "$folder"
  [ -e "$packed" ] || "$lockstep" pack "$data" "$packed"
  data=$packed
fi
# shellcheck disable=SC2086
exec ${LOCKSTEP_LAUNCH:-} "$lockstep" sweep "$here/recipes/comparison/sweep.yaml" "data=$data" "$@" -o "$folder"
