"""The losses of the first 20 steps of tiny trainings, as this project once computed them.

They guard against accidental changes of results. After an intended change, raise VERSIONS["train"] (or the
number of the step that changed) in src/led_pipeline/versions.py and renew the files in the same commit:

    python -m pytest tests/golden --renew-golden
"""

import json
from pathlib import Path

import pytest
import tiny

from led_pipeline.training import train

STEPS = 20
CHANGED = (
    "the tiny training '{name}' no longer gives the losses in {file}. If that is meant, raise the number of the step"
    " that changed in src/led_pipeline/versions.py and renew the file: python -m pytest tests/golden --renew-golden"
)
RANK = tiny.TEACHER | {"stage": "lex", "loss": "rank"}
KL = tiny.TEACHER | {"stage": "lex", "loss": "kl", "weight": 1.5, "temperature": 3.0}
CASES = {
    "dense": tiny.settings("dense", epochs=8, max_steps=STEPS, teachers=[RANK, KL], mask_positives=True),
    "lexicon": tiny.settings("lexicon", epochs=8, max_steps=STEPS, mask_positives=True),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_equal_the_recorded_ones(tmp_path, request, name):
    tiny.save_dataset(tmp_path, epochs=8)
    train.train(tiny.training(tmp_path, CASES[name], tmp_path / "model"))
    log = [json.loads(line) for line in (tmp_path / "model/train.jsonl").read_text().splitlines()]
    machine = {"seconds", "speed", "health"}
    losses = [{key: value for key, value in line.items() if key not in machine} for line in log if "loss" in line]
    assert [line["step"] for line in losses] == list(range(1, STEPS + 1))
    file = Path(__file__).with_name(f"{name}.jsonl")
    if request.config.getoption("--renew-golden"):
        file.write_text("".join(f"{json.dumps(line)}\n" for line in losses), encoding="utf-8")
    expected = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    same = all(line == pytest.approx(other, rel=1e-4, abs=1e-4) for line, other in zip(losses, expected, strict=True))
    assert same, CHANGED.format(name=name, file=file)
