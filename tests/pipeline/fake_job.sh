#!/bin/sh
# Stands in for python in a job: creates the files that the arguments name as outputs, and fails where another file of
# the run that they name is not there.
#
# FAIL_AT, STOP_AT: a part of a command at which to fail, or to wait to be killed.
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
    --checkpoints | --archives | --records) ;;
    *) case $argument in results/*) [ -e "$argument" ] || { echo "no file $argument" >&2; exit 1; } ;; esac ;;
  esac
  before=$argument
done

case "$*" in *"${FAIL_AT:-nowhere}"*) exit 1 ;; esac
case "$*" in *"${STOP_AT:-nowhere}"*) echo waiting > waiting && exec sleep 60 ;; esac
# What a job sees of Python's search path, and whether it may ask the hub.
echo "$2 ${HF_HUB_OFFLINE:-}" >> offline
echo "${PYTHONPATH%%:*}" > pythonpath
