"""Plan: what a recipe will take in hours, memory and disk, and what would prevent a run, without torch.

`cli` runs `table`, the rules `preflight`; nothing else is imported from outside.
"""
