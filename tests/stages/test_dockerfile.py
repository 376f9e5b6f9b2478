"""The commands of the Dockerfile, run as far as they can be without a container."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import pytest
from served import serving


@pytest.fixture(scope="module")
def dockerfile(repository) -> dict[str, list[str]]:
    """Instruction -> what stands behind it, each time."""
    lines = re.findall(r"^([A-Z]+) (.*)$", (repository / "Dockerfile").read_text(), re.M)
    return {name: [rest for one, rest in lines if one == name] for name, _ in lines}


def test_the_container_serves_and_finds_itself_healthy(dockerfile, finetuned, tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDUP_TOKEN", "a-token-of-many-letters")
    program, verb, *words = [*json.loads(dockerfile["ENTRYPOINT"][0]), *json.loads(dockerfile["CMD"][0])]
    assert (program, verb) == ("groundup", "serve") and "run=/model" in words
    words = [word.replace("/model", str(finetuned)) for word in words]
    with serving(tmp_path / "container", *words) as server:
        assert server.url.startswith("http://0.0.0.0:")
        server.ask("/predict", {"text": "roses"}, 401)
        server.ask("/predict", {"text": "roses"}, Authorization="Bearer a-token-of-many-letters")
        check = json.loads(dockerfile["HEALTHCHECK"][0].removeprefix("CMD "))
        port = str(server.address[1])
        check = [sys.executable, *(word.replace(dockerfile["EXPOSE"][0], port) for word in check[1:])]
        assert subprocess.run(check, timeout=30).returncode == 0
    assert subprocess.run(check, timeout=30, stderr=subprocess.DEVNULL).returncode != 0


def test_what_is_copied_and_installed_is_there(dockerfile, repository):
    for copied in dockerfile["COPY"]:
        *sources, _ = copied.split()
        assert all((repository / source).exists() for source in sources)
    kept = (repository / ".dockerignore").read_text().splitlines()
    assert {f"!{source}" for copied in dockerfile["COPY"] for source in copied.split()[:-1]} <= {*kept}
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert re.findall(r"\[(\w+)\]", dockerfile["RUN"][1])[0] in extras
    pinned = re.findall(r"grep '(\S+)' (\S+)\)", dockerfile["RUN"][0])[0]
    assert re.search(pinned[0], (repository / pinned[1]).read_text(), re.M)


def test_no_secret_and_nothing_of_ones_own_is_taken_in(repository):
    kept = (repository / ".dockerignore").read_text().splitlines()
    assert kept[1] == "*" and "!.env" not in kept and "!logs" not in kept
