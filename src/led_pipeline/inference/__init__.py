"""Inference: a trained model's vectors of texts and scores of pairs, and the batches for both.

The rules run `encode` and `score`; others import `batches`.
"""
