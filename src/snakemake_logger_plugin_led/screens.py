"""Screens: a run on a terminal, redrawn every second, or as lines where there is none (files, CI)."""

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, TextIO

from led_pipeline.jobs.progress import duration
from led_pipeline.watch import view
from led_pipeline.watch.remaining import Remaining, read_estimates, remaining
from led_pipeline.watch.run_file import RunFile
from led_pipeline.watch.state import RunState, Tracker
from snakemake_logger_plugin_led.capture import Capture

EXPECT_S = 5.0  # between two computations of the remaining time


class Screen(ABC):
    """What both kinds have in common."""

    EVERY_S: ClassVar[float]  # between two calls of `draw`

    def __init__(self, stream: TextIO, tracker: Tracker, estimates: Path):
        self.stream, self.tracker, self.estimates = stream, tracker, estimates
        self._left: Remaining | None = None
        self._expected = 0.0

    def start(self, number: int) -> None:
        """Note that a job has started."""
        self.tracker.start(number)

    def finish(self, number: int) -> None:
        """Note that a job is done."""
        self.tracker.finish(number)

    def fail(self, number: int, message: str | None = None) -> None:
        """Note that a job has failed, perhaps with a message of Snakemake's executor."""
        self.tracker.fail(number, message)

    @abstractmethod
    def draw(self) -> None:
        """Show how far the run is."""

    @abstractmethod
    def end(self, run: RunFile | None) -> None:
        """Show the run as it ended, if it is known, and leave the stream as it was."""

    def left(self, state: RunState) -> Remaining | None:
        """Return the remaining time, computed every few seconds."""
        if time.monotonic() - self._expected >= EXPECT_S:
            self._left = remaining(state, read_estimates(self.estimates))
            self._expected = time.monotonic()
        return self._left


class Lines(Screen):
    """One line for a job that starts, ends or fails, and every minute one for each running job."""

    EVERY_S = 60.0

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self.stream, flush=True)

    def _name(self, number: int) -> str:
        job = self.tracker.by_id[number]
        return " ".join(filter(None, [job.stage, job.rule, job.part]))

    def start(self, number: int) -> None:
        super().start(number)
        if number in self.tracker.by_id:
            self._say(f"start {self._name(number)}")

    def finish(self, number: int) -> None:
        if state := self.tracker.finish(number):
            done = sum(each.status == "done" for each in self.tracker.final.values())
            time_taken = duration(state.seconds(time.time()))
            self._say(f"done  {self._name(number)} in {time_taken} ({done} of {len(self.tracker.by_id)})")

    def fail(self, number: int, message: str | None = None) -> None:
        if state := self.tracker.fail(number, message):
            for line in view.failure(state):
                self._say(line)

    def draw(self) -> None:
        state = self.tracker.look()
        for each in state.jobs:
            if each.status == "running" and (text := view.details(each)):
                self._say(f"      {self._name(each.job.id)}: {text}")
        for warning in view.warnings(state):
            self._say(warning)
        self._say(view.headline(state, self.left(state)))

    def end(self, run: RunFile | None) -> None:
        if run:
            self.tracker.run = run
            for line in view.plain(self.tracker.look()):
                print(line, file=self.stream, flush=True)


class Terminal(Screen):
    """The view, redrawn in place; all that Snakemake and its jobs print comes above it."""

    EVERY_S = 1.0

    def __init__(self, stream: TextIO, tracker: Tracker, estimates: Path):
        from rich.console import Console
        from rich.live import Live

        super().__init__(stream, tracker, estimates)
        self.capture = Capture()
        self.console = Console(file=self.capture.terminal, force_terminal=True, highlight=False)
        self.live = Live(
            console=self.console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self.live.start()
        self.console.show_cursor(True)  # also after a kill

    def _print_captured(self) -> None:
        from rich.text import Text

        if text := self.capture.read():
            self.console.print(Text.from_ansi(text), soft_wrap=True)

    def draw(self) -> None:
        self._print_captured()
        self.console.size = self.capture.size
        state = self.tracker.look()
        self.live.update(view.table(state, self.left(state), *reversed(self.console.size)), refresh=True)

    def end(self, run: RunFile | None) -> None:
        try:
            self._print_captured()
            self.live.stop()
            if run:
                self.tracker.run = run
                self.console.size = self.capture.size
                self.console.print(view.table(self.tracker.look(), width=self.console.width))
        finally:
            self.capture.end()
