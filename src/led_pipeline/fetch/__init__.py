"""Fetch: the one room with a network: published files, the model hub, checksums, progress.

Others import `sources`, `hub` and `checksums`.
"""
