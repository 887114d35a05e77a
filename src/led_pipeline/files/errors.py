"""The error for everything that the user can fix."""


class InputError(Exception):
    """The user's input is wrong; the message names the file, line or key, what was expected and what to do."""
