"""Models: encoders and rankers, from a folder to tensors and back.

Others import `checkpoint` (load, save), `backbone` (packed texts), `sides`, `limits` and `gather`.
"""
