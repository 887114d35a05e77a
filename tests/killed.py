"""The program of `test_killed`: a training kills itself with SIGKILL at its events, and a new process resumes it.

Run as `python killed.py FOLDER FAMILY KEEP NTH`, FOLDER from `save`: it dies at the NTH event of every kind (-1: the
last). An event is the start of a step, of a torch.save, or of an operation on a file of the training: opening it to
write, renaming it, removing it. Each life of a training is a fork, since importing torch takes longer than that.
"""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tiny
import torch

from led_pipeline.data.tables import Ragged, Ranking, write_ranking
from led_pipeline.recipe.step_settings import RunningSettings
from led_pipeline.training import masked_lm, train

STEPS = 6
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
VALIDATION = {"queries": 5, "depth": 6, "every": 2}


def save(folder: Path, epochs: int = 3) -> None:
    """Write a dataset with a ranking to validate on, and initial models with dropout."""
    tiny.save_dataset(folder, epochs=epochs)
    random = np.random.default_rng(0)
    rows = [random.permutation(30)[:8] for _ in range(9)]
    lists = Ragged.from_rows(rows, np.int32), Ragged.from_rows([-np.arange(8) for _ in rows], np.float32)
    write_ranking(folder / "ranking.parquet", Ranking(np.arange(9, dtype=np.int32), *lists))
    (folder / "dev.qrels").write_text("".join(f"{i}\t0\t{row[i % 8]}\t1\n" for i, row in enumerate(rows)))
    for family in tiny.FAMILIES:
        tiny.backbone(family, hidden_dropout_prob=0.2).save_pretrained(folder / f"{family}.dropout")


def run(folder: Path, family: str, keep: str, out: Path) -> None:
    """Train with dropout, a validation every 2 steps and a checkpoint every 3; masked language models only save."""
    if family == "masked_lm":
        settings = tiny.masked_settings(max_steps=STEPS, epochs=3, stop_share=1)
        running = RunningSettings(checkpoint_steps=2)
        init = str(folder / "lexicon.dropout")
        masked_lm.train(tiny.masked_training(folder, settings, out, init=init, running=running))
        return
    validation = tiny.validation(folder, **VALIDATION, keep=keep)
    running = RunningSettings(checkpoint_steps=3)
    settings = tiny.settings(family, max_steps=STEPS, epochs=3)
    init = str(folder / f"{family}.dropout")
    train.train(tiny.training(folder, settings, out, init=init, validation=validation, running=running))


def die_at(number: int, below: Path) -> list[str]:
    """Kill this process at an event (0: at none); return the list that records the events."""
    events: list[str] = []

    def note(event: str) -> None:
        events.append(event)
        if len(events) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def noting(function: Callable, name: str) -> Callable:
        def noted(*arguments, **options):
            note(name)
            return function(*arguments, **options)

        return noted

    def audit(event: str, values: tuple) -> None:
        if event not in FILE_EVENTS:
            return
        inside = str(values[0]).startswith(str(below)) or (
            event == "os.remove" and not Path(str(values[0])).is_absolute()
        )
        writes = event != "open" or (isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR))
        if inside and writes:
            note(f"{event} {values[0]}")

    train.batch_rows = masked_lm.batch_rows = noting(train.batch_rows, "step")
    torch.save = noting(torch.save, "torch.save")  # its files do not raise audit events
    sys.addaudithook(audit)
    return events


def live(life: Callable[[], None]) -> int:
    """Run something in a fork; return the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            life()
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a training failed, its traceback is above"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def kind(event: str) -> str:
    """Return the operation and the file of an event, without step numbers and random parts of the name."""
    operation, _, path = event.partition(" ")
    return f"{operation} {re.sub(r'[0-9a-f]{8}-[0-9]+-[0-9a-f]{8}|[0-9]+', '*', Path(path).name)}"


def moments(events: list[str], nth: int) -> list[int]:
    """Return the number of the nth event of every kind, or of its last one; the first event has number 1."""
    numbers: dict[str, list[int]] = {}
    for number, event in enumerate(events, 1):
        numbers.setdefault(kind(event), []).append(number)
    return sorted(occurrences[min(nth, len(occurrences) - 1)] for occurrences in numbers.values())


def outcome(out: Path) -> tuple[bytes, list[dict]]:
    """Return the bytes of the weights, and the log without its times."""
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    timeless = [{key: value for key, value in line.items() if key not in ("seconds", "speed")} for line in lines]
    return (out / "model.safetensors").read_bytes(), timeless


def main() -> None:
    folder, family, keep, nth = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    whole = folder / f"{family}.whole" / "model"

    def uninterrupted() -> None:
        events = die_at(0, whole.parent)
        run(folder, family, keep, whole)
        (folder / f"{family}.events.json").write_text(json.dumps(events))

    assert live(uninterrupted) == 0
    events = json.loads((folder / f"{family}.events.json").read_text())
    lives = []
    for number in moments(events, nth):
        out = folder / f"{family}.{number}" / "model"

        def dying(out: Path = out, number: int = number) -> None:
            die_at(number, out.parent)
            run(folder, family, keep, out)

        ended = live(dying)
        shutil.rmtree(out, ignore_errors=True)  # Snakemake removes the output of a job that failed
        live(lambda out=out: run(folder, family, keep, out))
        left = sorted(path.name for path in out.with_name("model.checkpoints").iterdir())
        lives.append(
            {"event": events[number - 1], "signal": ended, "same": outcome(out) == outcome(whole), "left": left}
        )
    print(json.dumps(lives))


if __name__ == "__main__":
    main()
