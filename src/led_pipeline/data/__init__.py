"""Data: from raw text to token stores, pools of negatives and trainsets.

Others import `tables` and `opened` (files between steps), `tokens`, `order`, `prefixes` and `trainset`; published
formats are in `formats`.
"""
