"""Jobs: how commands run: GPU leases, torchrun, file locks, and processes that end with their parent.

Every command calls its `main` through `command.run_main`; every room may use `locks` and `processes`.
"""
