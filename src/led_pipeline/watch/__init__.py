"""Watch: how far a run is, from files alone, and a view of it for a terminal.

The Snakefile writes `run_file`; `led status` and the logger plugin of Snakemake show `view`.
"""
