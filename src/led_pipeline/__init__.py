"""led_pipeline: train a first-stage retriever from raw text to a measured model."""

import signal
import sys

# `python -m led_pipeline.x` imports libraries next, and some of them swallow every exception raised meanwhile, even
# KeyboardInterrupt. So until `jobs.command.run_main` takes over, Ctrl-C ends the process without raising it.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
