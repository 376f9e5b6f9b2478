"""The exceptions that users are meant to see."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: one clear line that says what is wrong and what to type next.

    The command prints it as ``error: <line>`` without a traceback and exits with code 2.
    """


class ArgumentError(UserError):
    """An argument of a constructor does not fit.

    A class does not know where in a configuration it stands, so it names its parameters alone; ``config.build`` puts
    the path before them.

    Args:
        line: what is wrong; it begins with the name of the parameter, as in ``width=9 cannot be halved``.
        advice: ``name=value`` to give instead.
    """

    def __init__(self, line: str, *advice: str) -> None:
        self.line, self.advice = line, advice
        super().__init__(self.at(""))

    def at(self, path: str) -> str:
        """The line for a constructor whose arguments stand at ``path`` of a configuration."""
        before = f"{path}." if path else ""
        advice = " ".join(f"{before}{words}" for words in self.advice)
        return f"{before}{self.line}" + (f". Try {advice}" if advice else "")
