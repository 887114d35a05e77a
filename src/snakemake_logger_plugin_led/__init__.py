"""The logger plugin `led` of Snakemake: a run as a live table of its stages, and targets that may come last.

Importing it lets a target come last on Snakemake's command line (`targets`). With `--logger led`, which
profiles/default sets, `handler` shows the run.
"""

from snakemake_logger_plugin_led import targets
from snakemake_logger_plugin_led.handler import LogHandler

targets.move()

__all__ = ["LogHandler"]
