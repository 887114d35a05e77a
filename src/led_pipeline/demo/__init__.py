"""Demo: build a collection and a small model from the files that every installation has on disk.

No other room imports this one; the rules run `docstrings` and `pretrain`.
"""
