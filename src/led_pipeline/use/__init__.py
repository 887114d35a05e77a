"""Use: search with what a run trained, query by query.

`session` opens a results folder; `serve` and `commands` import it.
"""
