"""Record what a run shows on a terminal: some moments of a real run, as text.

Run as `python tests/record_terminal.py --out docs/examples/terminal.txt -- SNAKEMAKE ARGUMENTS`, for instance with
`--directory build/terminal --configfile config/demo.yaml --cores all led_final`. The moments are the first time that
each of a number of trainings runs, and the end.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from screen import on_a_terminal

ROOT = Path(__file__).parents[1]
RUNNING = re.compile(r"^   train .* steps .* left$", re.MULTILINE)
PLACES = re.compile(re.escape(f"{ROOT}/"))


def moments(arguments: list[str], every: int) -> list[str]:
    """Return the screen at some moments of a run."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "snakemake", *arguments]
    frames: list[str] = []
    recorded: set[str] = set()
    text = ""
    for screen in on_a_terminal(command, columns=118, rows=34, cwd=ROOT, env=environment):
        text = screen.text
        if RUNNING.search(text):
            stage = text[: RUNNING.search(text).start()].splitlines()[-1].split()[1]
            if stage not in recorded and len(recorded) % every == 0:
                frames.append(text)
            recorded.add(stage)
    if screen.status:
        sys.exit(f"{text}\nended with {screen.status}")
    return [*frames, text]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=3, help="record every n-th training")
    parser.add_argument("arguments", nargs="+", metavar="-- ARGUMENTS")
    a = parser.parse_args()
    frames = [PLACES.sub("", frame) for frame in moments(a.arguments, a.every)]
    head = f"$ snakemake {' '.join(a.arguments)}\n\n"
    a.out.write_text(head + "\n\n[...]\n\n".join(frames) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
