"""The page: a field for what a run reads, and its answer as something to look at."""

from __future__ import annotations

from groundup.report.page import environment


def page() -> str:
    """One file that needs nothing else. It asks for a token where the server does."""
    templates = environment("serve_answers.js", "serve.js", more="connect-src 'self'; ")
    return templates.get_template("serve.html").render()
