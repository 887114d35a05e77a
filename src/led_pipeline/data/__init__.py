"""Data: from raw text to token stores, pools of negatives and trainsets.

Other rooms import `tables` and `opened` (files between steps), `tokens`, `order`, `prefixes` and `trainset`; `formats`
reads published formats.
"""
