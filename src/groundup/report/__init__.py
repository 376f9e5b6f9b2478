"""``report.html``: everything worth seeing about a run, in one file that needs no network and no script."""

from groundup.report.page import write_report

__all__ = ["write_report"]
