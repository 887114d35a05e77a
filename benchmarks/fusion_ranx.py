"""Fuse two small runs with ranx: the expected values of `tests/unit/data/test_fusion.py`.

Run in an environment of its own with `pip install ranx`: `python benchmarks/fusion_ranx.py > tests/golden/fusion.json`.
Both define the same where no list has equal scores only, and, for z_score, both runs have the same passages.
"""

import json
import random
import sys
from importlib.metadata import version
from importlib.util import find_spec

COMMAND = "python benchmarks/fusion_ranx.py > tests/golden/fusion.json"
# Keys of a recipe's fusion -> ranx's normalisation, method and parameters.
METHODS = [
    ("rrf", {"method": "rrf"}, None, "rrf", {"k": 60}),
    ("rrf with k 5", {"method": "rrf", "k": 5}, None, "rrf", {"k": 5}),
    ("min_max", {"method": "weighted", "weights": [0.3, 0.7]}, "min-max", "wsum", {"weights": [0.3, 0.7]}),
    ("z_score", {"method": "weighted", "normalise": "z_score"}, "zmuv", "wsum", {"weights": [1.0, 1.0]}),
]


def runs(same: bool) -> list[dict[str, dict[str, float]]]:
    """Return two runs, best first, of three queries each; with `same`, of the same passages."""
    source = random.Random(7)
    random_runs = []
    for _ in range(2):
        run = {}
        for qid in ("q0", "q1", "q2"):
            pids = [f"p{i}" for i in (range(8) if same else sorted(source.sample(range(12), 7)))]
            scores = {pid: round(source.uniform(-5, 20), 3) for pid in pids}
            run[qid] = dict(sorted(scores.items(), key=lambda pair: -pair[1]))
        random_runs.append(run)
    return random_runs


def main() -> None:
    if not find_spec("ranx"):
        sys.exit("ranx is not installed here: make an environment of its own, and pip install ranx in it")
    from ranx import Run, fuse

    expected = {}
    for name, keys, norm, method, params in METHODS:
        lists = runs(same=norm == "zmuv")
        fused = fuse([Run(run) for run in lists], norm=norm, method=method, params=params).to_dict()
        scores = {qid: {pid: float(score) for pid, score in ranked.items()} for qid, ranked in fused.items()}
        expected[name] = {"fusion": keys, "runs": lists, "scores": scores}
    print(json.dumps({"made by": f"{COMMAND} (ranx {version('ranx')})", "expected": expected}, indent=1))


if __name__ == "__main__":
    main()
