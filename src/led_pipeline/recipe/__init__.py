"""Recipes: from a config file to a checked graph of stages, without torch.

Others import `load`, `graph` (the recipe), `schema` and `stages` (its parts), and the list in `languages`.
"""
