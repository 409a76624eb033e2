"""Errors that a user can correct. Each message is one line that says what was given and what is allowed."""


class UserError(ValueError):
    """Invalid input of a user. The command line prints the message without a traceback and exits with status 2."""
