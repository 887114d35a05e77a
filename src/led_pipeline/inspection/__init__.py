"""Inspection: look at results, compare them, and look at a folder of data before there are any. Loads no torch."""
