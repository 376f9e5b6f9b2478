"""A real browser that is driven: it opens a page, types, presses keys, and tells what it shows."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# The browser reads commands from file 3 and writes answers to file 4.
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
CTRL = 2  # of ``press``
CODES = {"Enter": 13, "Escape": 27, "ArrowRight": 39}


class Browser:
    """Chromium without a window, with its profile in ``folder``. Source: https://chromedevtools.github.io/devtools-protocol/"""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        theirs_in, ours_out = map(_high, os.pipe())
        ours_in, theirs_out = map(_high, os.pipe())
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={folder}"]
        command = [sys.executable, "-c", START, str(theirs_in), str(theirs_out), CHROMIUM, *words, "about:blank"]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), **streams)
        for number in (theirs_in, theirs_out):
            os.close(number)
        self._in, self._out, self._rest, self._number = ours_in, ours_out, b"", 0
        self._session: dict[str, str] = {}
        self.told: deque[dict[str, Any]] = deque(maxlen=1000)  # what it says unasked
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for number in (self._in, self._out):
            os.close(number)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The browser's answer to a command of its protocol."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters, **self._session}
        left = json.dumps(asked).encode() + b"\0"
        while left:
            left = left[os.write(self._out, left) :]
        until = time.monotonic() + 60
        while True:
            while b"\0" not in self._rest:
                assert select.select([self._in], [], [], max(until - time.monotonic(), 0))[0], f"no answer to {method}"
                part = os.read(self._in, 1 << 20)
                assert part, "the browser is gone"
                self._rest += part
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]
            self.told.append(answer)

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False, phone: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")  # also where only the part behind # differs
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def look(self, expression: str) -> Any:
        """The value of an expression of JavaScript, awaited where it is a promise."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> Any:
        """Its value once it is true; of a node, that it is there."""
        until = time.monotonic() + seconds
        while not (found := self.look(f"((found) => (found instanceof Node ? true : found))({expression})")):
            assert time.monotonic() < until, f"never: {expression}\n{self.look('document.body?.innerText')}"
            time.sleep(0.02)
        return found

    def text(self, selector: str) -> str:
        """What is to be read there."""
        return self.look(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def type(self, selector: str, text: str) -> None:
        """Types into a field in place of what is there."""
        self.look(f"(document.querySelector({json.dumps(selector)}).focus(), document.activeElement.select())")
        self.call("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        same = {"key": key, "code": key, "modifiers": modifiers, "windowsVirtualKeyCode": CODES[key]}
        text = {"text": "\r"} if key == "Enter" and not modifiers else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **same, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def errors(self) -> list[str]:
        """What scripts threw, and what the page's policy refused, since it was last asked."""
        self.look("1")
        threw = [
            one["params"]["exceptionDetails"]["text"] for one in self.told if one["method"] == "Runtime.exceptionThrown"
        ]
        entries = [one["params"]["entry"] for one in self.told if one["method"] == "Log.entryAdded"]
        self.told.clear()
        return threw + [one["text"] for one in entries if one["source"] in ("security", "violation", "javascript")]

    def picture(self, file: Path) -> None:
        """Writes the whole page as a .png."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))


def _high(number: int) -> int:
    """The same open file under a number above those that a started program has."""
    other = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(number)
    return other
