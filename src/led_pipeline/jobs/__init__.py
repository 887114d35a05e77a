"""Jobs: what runs a command: leases of GPUs, torchrun, locks, and an end with whatever started it.

Every command's `main` goes through `command.run_main`; `locks` and `processes` are for every room.
"""
