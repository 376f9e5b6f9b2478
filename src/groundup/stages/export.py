"""``groundup export``: a finished run for other programs, with its tokenizer and the names of its classes.

Each format is a function of its own; what it writes is checked, or whole, or not there.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.runs.job import Job
from groundup.stages.build import prepare_process
from groundup.stages.export_hf import export_hf
from groundup.stages.loading import load_network
from groundup.stages.network import NetworkRun
from groundup.system.files import read_text, write_text

NEEDED = ("onnx", "onnxruntime", "onnxscript")


def run(cfg: Config, job: Job) -> None:
    """Writes the run as ``output``.

    Raises UserError where packages are missing, where the run has a shape that the format lacks, and where something else
    is there already.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if cfg.format == "onnx" and missing:
        raise UserError(f"format={cfg.format} needs {' and '.join(missing)}. Try pip install 'groundup[export]'")
    prepare_process(cfg.threads)
    loaded, output = load_network(cfg.run, cfg.paths.logs, use="network"), Path(cfg.output).expanduser()
    if loaded.config.get("int8"):
        raise UserError(
            f"{loaded.folder.path} is quantized, which torch computes by rules of its own. Try run={loaded.config.get('run')}"
        )
    if cfg.format == "hf":
        export_hf(loaded, output, cfg.license)
    else:
        export_onnx(loaded, output)


def export_onnx(loaded: NetworkRun, output: Path) -> None:
    """Writes the graph, with tokenizer.json and labels.json in the same folder."""
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
