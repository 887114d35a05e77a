"""Training: one stage from its trainset to a model folder.

The rules run `train`; others import `losses` and `teachers`, and benchmarks the loop's parts.
"""
