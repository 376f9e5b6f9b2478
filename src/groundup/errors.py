"""The one exception that users are meant to see."""


class UserError(Exception):
    """Something the user can mend: one clear line that says what is wrong and what to type next.

    The command prints it as ``error: <line>`` without a traceback and exits with code 2.
    """
