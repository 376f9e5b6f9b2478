"""Which modules of the Python standard library belong to which subject area."""

from __future__ import annotations

# A package stands for all that is in it; the longest name that fits decides. Modules of older Pythons are listed too:
# what a version lacks is left out. Modules that fit no area, or several, are left out on purpose.
TOPICS: dict[str, str] = {
    "internet": """http urllib socket ssl socketserver ftplib telnetlib xmlrpc wsgiref ipaddress cgi webbrowser asyncore
        asynchat netrc imaplib poplib smtplib smtpd nntplib email mailbox mimetypes mailcap""",
    "concurrency": """asyncio threading _threading_local multiprocessing concurrent queue sched subprocess selectors
        contextvars""",
    "files": """pathlib os shutil tempfile glob fnmatch ntpath posixpath genericpath tarfile zipfile gzip bz2 lzma
        _compression compression _pyio io fileinput stat filecmp dbm shelve linecache zipapp""",
    "numbers": "_pydecimal decimal fractions statistics random numbers colorsys",
    "testing": """unittest doctest pdb bdb trace timeit profile profiling cProfile pstats tracemalloc traceback logging
        warnings cgitb faulthandler""",
    "graphics": "tkinter turtle turtledemo curses idlelib",
    "packaging": """importlib distutils pkgutil zipimport runpy modulefinder venv ensurepip site sysconfig imp
        compileall py_compile""",
    "language": """inspect ast _ast_unparse annotationlib dis tokenize token symtable pyclbr pydoc code codeop keyword
        pickletools opcode lib2to3 enum typing types dataclasses abc functools contextlib""",
    "text": """re sre_compile sre_parse string textwrap difflib codecs locale gettext shlex pprint argparse optparse cmd
        getopt stringprep xml html json csv plistlib configparser tomllib _markupbase""",
}
_AREA = {module: topic for topic, modules in TOPICS.items() for module in modules.split()}


def topic_of(module: str) -> str | None:
    """``asyncio.streams`` -> ``concurrency``; None where the table has no area for it."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if topic := _AREA.get(".".join(parts[:end])):
            return topic
    return None
