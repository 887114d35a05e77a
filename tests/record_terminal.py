"""Record what a run shows on a terminal: moments of a real run, as text, for docs/guides/terminal.md.

Run as `python tests/record_terminal.py --page docs/guides/terminal.md -- --directory build/terminal --configfile
tests/pipeline/tiny.yaml --config "defaults={max_steps: 1500, epochs: 40}" --cores all led_final`. The moments are the
middle of every third training, and the end. They replace the text between the page's comments `recording` and `end`.
"""

import argparse
import os
import re
import shlex
import sys
from pathlib import Path

from screen import on_a_terminal

ROOT = Path(__file__).parents[1]
HEADING = re.compile(r"^results/\S+: [\d,]+ of [\d,]+ jobs", re.MULTILINE)
TRAINING = re.compile(r"^ +train .* ([\d,]+)/([\d,]+) steps", re.MULTILINE)
PLACE = re.compile(r"(<!-- recording -->\n).*?(<!-- end -->\n)", re.DOTALL)


def trained(table: str) -> str | None:
    """Return the stage whose training is between its middle and its last quarter; None if there is none."""
    for match in TRAINING.finditer(table):
        done, steps = (int(number.replace(",", "")) for number in match.groups())
        if 0.5 <= done / steps < 0.75:
            return [line for line in table[: match.start()].splitlines() if line.startswith("▶")][-1].split()[1]
    return None


def moments(arguments: list[str], every: int) -> list[str]:
    """Return the table of a run, and what is below it, at some moments."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "snakemake", *arguments]
    frames: list[str] = []
    stages: list[str] = []
    text = ""
    for screen in on_a_terminal(command, columns=100, rows=34, cwd=ROOT, env=environment):
        text = screen.text
        tables = [match.start() for match in HEADING.finditer(text)]
        table = text[tables[-1] :] if tables else ""
        if (stage := trained(table)) and stage not in stages:
            stages.append(stage)
            frames += [table] if len(stages) % every == 1 else []
    if screen.status or not tables:
        sys.exit(f"{text}\nended with {screen.status}")
    return [*frames, table]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--every", type=int, default=3, help="record every n-th training")
    parser.add_argument("arguments", nargs="+", metavar="-- ARGUMENTS")
    a = parser.parse_args()
    frames = "\n\n[...]\n\n".join(moments(a.arguments, a.every)).replace(f"{ROOT}/", "")
    recording = f"```text\n$ snakemake {shlex.join(a.arguments)}\n[...]\n\n{frames}\n```\n"
    page = a.page.read_text(encoding="utf-8")
    a.page.write_text(PLACE.sub(lambda match: match[1] + recording + match[2], page), encoding="utf-8")


if __name__ == "__main__":
    main()
