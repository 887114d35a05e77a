"""Evaluation: runs, measures, paired tests, sparsity, and published numbers.

Others import `evaluate` (read, compare, measure) and `published`.
"""
