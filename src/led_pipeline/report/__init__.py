"""Report: one HTML page, a text and a JSON file of a finished recipe, and the summary of several.

The rules run `page`, `led` runs `summary`; nothing else is imported from outside.
"""
