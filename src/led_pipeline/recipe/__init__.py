"""Recipes: from a config file to a checked graph of stages, without torch.

Others import `load`, `graph` (the recipe), `layout` (paths), `needs` (edges), and the settings in `step_settings`.
"""
