"""Formats: readers of published files: texts, judgements, scores, archives; errors name file and line.

Other rooms import `streams`, `lines`, `judgements`, `texts` and `score_files`.
"""
