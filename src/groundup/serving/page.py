"""The page: a field for what a run reads, and its answer as something to look at."""

from __future__ import annotations

from groundup.report.page import environment


def page(asks_token: bool) -> str:
    """One file that needs nothing else; ``asks_token``: whether it must ask for one."""
    templates = environment("serve.js", more="connect-src 'self'; ")
    return templates.get_template("serve.html").render(asks_token=asks_token)
