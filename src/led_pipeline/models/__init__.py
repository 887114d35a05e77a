"""Models: encoders and rankers, from a folder to tensors and back.

Others import `saved_model` (start, load, save), `backbone` (packed batches), `bi_encoder`, `limits` and `gather`.
"""
