# Install the pinned packages into an environment; every file must have a digest that lock/ knows:
#   sh envs/install.sh PYTHON cpu|gpu   what the pipeline needs
#   sh envs/install.sh PYTHON test      what tests need besides
#   sh envs/install.sh PYTHON mutation  what `make mutation-test` needs on top of both

set -eu
python=$1
faiss=$2
locks=$(dirname "$0")/lock

checked() { "$python" -m pip install --no-deps --require-hashes "$@"; }
wheels() { checked --only-binary :all: "$@"; }
# Without isolation a build takes the setuptools that is installed, not the newest one of the day.
sources() { checked --no-build-isolation "$@"; }

case $faiss in test | mutation)
  wheels -r "$locks/$faiss.txt"
  exit
  ;;
esac
wheels -r "$locks/build.txt"
# PyPI's torch is checked as all packages are. One of an index or folder of yours (torch without CUDA comes from
# download.pytorch.org) has other digests; pip compares it with those that the index names.
if [ -n "${PIP_EXTRA_INDEX_URL:-}${PIP_FIND_LINKS:-}" ]; then
  echo "PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS is set: torch is not compared with envs/lock/torch.txt"
  "$python" -m pip install --no-deps "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$locks/torch.txt")"
else
  wheels -r "$locks/torch.txt"
fi
wheels -r "$locks/packages.txt" -r "$locks/$faiss.txt"
sources -r "$locks/built.txt" -r "$locks/anserini.txt"
# Whether this torch needs the CUDA packages says its own metadata.
if "$python" -c '
import sys
from importlib.metadata import requires
from packaging.requirements import Requirement
needed = [r for r in map(Requirement, requires("torch")) if r.marker is None or r.marker.evaluate({"extra": ""})]
sys.exit(not any(r.name.startswith(("nvidia-", "cuda-")) for r in needed))'; then
  wheels -r "$locks/cuda.txt"
fi
