"""``groundup export``: a finished run for other programs, with its tokenizer and the names of its classes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.runs.job import Job
from groundup.stages.build import prepare_process
from groundup.stages.loading import load_network
from groundup.system.files import read_text, write_text

NEEDED = ("onnx", "onnxruntime", "onnxscript")


def run(cfg: Config, job: Job) -> None:
    """Writes the run as ``output``, with tokenizer.json and labels.json in the same folder.

    Raises UserError where packages are missing, and where these files are there already and are not the run's.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f"format={cfg.format} needs {' and '.join(missing)}. Try pip install 'groundup[export]'")
    prepare_process(cfg.threads)
    loaded = load_network(cfg.run, cfg.paths.logs, use="evaluate")
    output = Path(cfg.output)
    beside = {output.parent / file.name: read_text(file) for file in (loaded.folder.tokenizer, loaded.folder.labels)}
    for file, text in beside.items():
        if file.exists() and read_text(file) != text:
            raise UserError(
                f"{file} is there and belongs to something else. Try output={output.parent / output.stem / output.name}"
            )
    from groundup.stages.onnx import export

    export(loaded, output)
    for file, text in beside.items():
        write_text(file, text)
