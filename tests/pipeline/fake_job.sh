#!/bin/sh
# Replaces python in a job: creates the output files that the arguments name, and fails if an input file that they name
# is missing.
#
# FAIL_AT, STOP_AT: fail, with the message FAIL_WITH, or wait to be killed, if the command contains this text.
set -eu

make() {
  case $1 in
    */models/* | */index/* | */hub/*) mkdir -p "$1" && echo "$$" > "$1/made" ;;
    */source) for name in source.json collection.tsv titles.tsv; do echo "$$" > "$1/$name"; done
      for split in train dev; do echo "$$" > "$1/queries.$split.tsv" && echo "$$" > "$1/qrels.$split.tsv"; done ;;
    *) echo "$$" > "$1" ;;
  esac
  case $1 in */pools/* | */drawn.arrow) echo "$$" > "${1%.*}.json" ;; esac
}

before=
for argument in "$@"; do
  case $before in
    --out | --out-* | --provenance | --per-query) make "$argument" ;;
    --checkpoints | --archives | --records | --results) ;;
    *) case $argument in results/*) [ -e "$argument" ] || { echo "no file $argument" >&2; exit 1; } ;; esac ;;
  esac
  before=$argument
done

case "$* " in *"${FAIL_AT:-nowhere}"*) echo "${FAIL_WITH-}" >&2 && exit 1 ;; esac
case "$* " in *"${STOP_AT:-nowhere}"*) echo waiting > waiting && exec sleep 60 ;; esac
# Record the job's Python search path, and whether it may contact the hub.
echo "$2 ${HF_HUB_OFFLINE:-}" >> offline
echo "${PYTHONPATH%%:*}" > pythonpath
