"""A report, parsed."""

from __future__ import annotations

from html.parser import HTMLParser

from groundup.report.page import write_report

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Collects the text of each section, and fails on tags that do not close."""

    def __init__(self, html):
        super().__init__()
        self.open, self.sections, self.tags, self.title, self.attributes = [], {"": ""}, [], "", []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.title = data
            self.sections[data] = ""
        elif not {"style", "script"} & set(self.open):
            key = self.title if "section" in self.open else ""
            self.sections[key] += data + " "


def page(run):
    return Page(write_report(run).read_text(encoding="utf-8"))
