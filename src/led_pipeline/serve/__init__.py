"""Serve: a local web page to search with several systems side by side.

The command `led serve` starts it; its templates and static files are in this folder.
"""
