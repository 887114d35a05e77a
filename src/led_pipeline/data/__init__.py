"""Data: from raw text to token stores, pools of negatives and trainsets.

Other rooms import `tables`, `opened` and `vectors` (files between steps), `tokens`, `order`, `prefixes` and `examples`;
`formats` reads published formats.
"""
