"""Plan: what a recipe will take in hours, memory and disk, and what stands in its way, without torch.

`cli` runs `table`, the rules `preflight`; nothing else is imported from outside.
"""
