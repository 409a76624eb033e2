"""Errors that a user can mend: each is one line that says what was given and what is allowed."""


class UserError(ValueError):
    """Raised where a user's input enters; the command line prints it without a traceback and exits with status 2."""
