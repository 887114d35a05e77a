"""Demo: a collection and a small model made of what every installation has on disk.

Nothing is imported from outside; the rules run `docstrings` and `pretrain`.
"""
