"""The error of everything that a user can mend."""


class InputError(Exception):
    """Something the user gave is wrong; the message names file, line or key, what was expected and what to do."""
