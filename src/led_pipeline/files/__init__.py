"""Files: publish them whole, read them strictly, name what is wrong with them.

`atomic`, `digests`, `errors`, `limits`, `reading`, `yaml_lines` and `folder_names` are for every room; this one
imports nothing.
"""
