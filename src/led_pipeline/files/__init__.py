"""Files: publish files atomically, read them strictly within limits, and say precisely what is wrong with them.

Every room may import `atomic`, `digests`, `errors`, `limits`, `reading`, `yaml_lines` and `folder_names`; this room
imports no other.
"""
