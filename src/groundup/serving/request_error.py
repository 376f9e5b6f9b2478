"""A request that is not answered: the code, and one line that says why."""

from __future__ import annotations

from typing import Any

TYPES = {401: "authentication_error", 429: "rate_limit_error"}  # what clients of completions look for


class RequestError(Exception):
    """``code``: of HTTP. ``param``: the key that is wrong. ``name``: a word for programs."""

    def __init__(self, code: int, message: str, param: str | None = None, name: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param, self.name = code, message, param, name

    def body(self) -> dict[str, Any]:
        """As clients of ``/v1/completions`` know it; the others are told the same way."""
        kind = TYPES.get(self.code, "server_error" if self.code >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.name}}

    @property
    def headers(self) -> dict[str, str]:
        if self.code in (429, 503):
            return {"Retry-After": "1"}
        return {"WWW-Authenticate": "Bearer"} if self.code == 401 else {}
