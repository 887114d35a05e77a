"""Evaluation: runs, measures, paired tests, sparsity, and published numbers.

Others import `evaluate` (runs), `measures`, `significance` and `published`.
"""
