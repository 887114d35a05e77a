"""The handler of Snakemake's log records: it shows the view of `led_pipeline.watch`, and messages above it.

Until the Snakefile calls `watch`, with `--quiet`, in a dry run, and with LED_VIEW=snakemake, it prints what Snakemake
prints by itself. It does so again, after one sentence, if the view fails: that never ends a run. LED_VIEW=lines prints
lines on a terminal, too.
"""

import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from inspect import signature
from logging import LogRecord
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

if TYPE_CHECKING:
    from led_pipeline.watch.run_file import RunFile
    from snakemake_logger_plugin_led.screens import Screen

HIDDEN = {  # what the view says itself
    LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.JOB_ERROR, LogEvent.PROGRESS,
    LogEvent.RESOURCES_INFO, LogEvent.RUN_INFO, LogEvent.RULEGRAPH, LogEvent.WORKFLOW_STARTED,
}  # fmt: skip
NOISE = (
    "Select jobs to execute", "Rules claiming more threads", "Using shell", "Storing output", "Removing output files",
    "Will exit after finishing", "Shutting down, this might", "Exiting because a job execution failed", "RuleException",
    "WorkflowError:\nAt least one job did not complete",
)  # fmt: skip
SHARE = 0.02  # of the time that the view may take from Snakemake, however many jobs there are


class LogHandler(LogHandlerBase):
    """Shows a run of this workflow; anything else is Snakemake's own text."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True  # `plain` has Snakemake's own
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        common = self.common_settings
        stream = sys.stdout if common.stdout else sys.stderr
        # Its parameters, settings of the same names, differ between versions of Snakemake.
        filtered = DefaultFilter(**{name: getattr(common, name) for name in signature(DefaultFilter).parameters})
        formatted = DefaultFormatter(common.quiet, common.show_failed_logs)
        self.plain = ColorizingTextHandler(common.nocolor, stream, formatted, filtered)
        self.screen: Screen | None = None
        self.guard = threading.Lock()
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    def watch(self, run: "RunFile", estimates: Path) -> None:
        """Show a run that starts now; the Snakefile calls this once it knows the jobs."""
        choice = os.environ.get("LED_VIEW")
        if choice == "snakemake" or self.common_settings.quiet or self.common_settings.dryrun:
            return
        try:
            # Only here: other workflows of this environment import the plugin, too.
            from led_pipeline.watch.state import Tracker
            from snakemake_logger_plugin_led.screens import Lines, Terminal

            live = self.plain.is_tty and not self.plain.nocolor and choice != "lines"
            self.screen = (Terminal if live else Lines)(self.plain.stream, Tracker(run, by_events=True), estimates)
            self.thread = threading.Thread(target=self._redraw, daemon=True)
            self.thread.start()
            atexit.register(self.leave)
        except Exception as error:
            self._give_up(error)

    def leave(self, run: "RunFile | None" = None) -> None:
        """Show the run as it ended, if it is known, and give the terminal back."""
        self.ended.set()
        if self.thread and self.thread is not threading.current_thread():
            self.thread.join()
        with self.guard:
            screen, self.screen = self.screen, None
            if screen:
                with suppress(Exception):
                    screen.end(run)

    def emit(self, record: LogRecord) -> None:
        with self.guard:
            if self.screen:
                try:
                    self._show(record, self.screen)
                    return
                except Exception as error:
                    failed: Exception = error
            else:
                if self.thread is None or not record.getMessage().startswith(NOISE):
                    self.plain.handle(record)
                return
        self._give_up(failed)
        self.emit(record)

    def _show(self, record: LogRecord, screen: "Screen") -> None:
        """Show a record in the view, or as Snakemake's text above it."""
        event, values = getattr(record, "event", None), vars(record)
        if event == LogEvent.JOB_INFO:
            screen.start(values["jobid"])
        elif event == LogEvent.JOB_FINISHED:
            screen.finish(values["job_id"])
        elif event == LogEvent.JOB_ERROR:
            screen.fail(values["jobid"], values.get("rule_msg"))
        elif event not in HIDDEN and not record.getMessage().startswith(NOISE):
            self.plain.handle(record)

    def _redraw(self) -> None:
        """Redraw until the end, at most `SHARE` of the time; runs in a thread of its own."""
        pause = self.screen.EVERY_S if self.screen else 0.0
        while not self.ended.wait(pause):
            started = time.monotonic()
            try:
                with self.guard:
                    if self.screen is None:
                        return
                    self.screen.draw()
                    pause = max(self.screen.EVERY_S, (time.monotonic() - started) / SHARE)
            except Exception as error:
                self._give_up(error)
                return

    def _give_up(self, error: Exception) -> None:
        """Go on with Snakemake's own text."""
        self.leave()
        print(f"led: the view failed ({type(error).__name__}: {error}); Snakemake's own text follows", file=sys.stderr)

    def close(self) -> None:
        screen = self.screen
        if screen:  # after Ctrl-C
            self.leave(replace(screen.tracker.run, ended=time.time(), outcome="failure"))
        super().close()
