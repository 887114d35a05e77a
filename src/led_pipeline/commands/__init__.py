"""Commands: one module per subcommand of `led`, with its options; the work is done in the other rooms.

`cli` registers them. A module imports what needs torch, SciPy or a web server inside its function: `led` starts fast.
"""
