"""Formats: readers of what others publish: texts, judgements, scores, archives.

Others import `streams`, `lines`, `judgements`, `texts` and `score_files`; each row names its file and line.
"""
