"""What W&B wrote into the folder of an offline run, record by record."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import pytest
from wandb.proto import wandb_internal_pb2


def blocks(data: bytes, block: int = 32768):
    """Records of a LevelDB log, the format of .wandb files."""
    offset, record = 7, b""
    while offset + 7 <= len(data):
        left = block - offset % block
        if left < 7:
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        chunk = data[offset + 7 : offset + 7 + length]
        if len(chunk) < length:
            return
        offset += 7 + length
        record = chunk if kind in (1, 2) else record + chunk
        if kind in (1, 4):
            message = wandb_internal_pb2.Record()
            message.ParseFromString(record)
            yield message


def read_back(folder: Path) -> dict:
    """History rows, configuration, exit code and x axes of an offline run; waits until its file is complete."""
    (file,) = folder.glob("*.wandb")
    for _ in range(100):
        records = list(blocks(file.read_bytes()))
        if any(record.HasField("exit") for record in records):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the .wandb file never got its exit record")
    rows, config, metrics, summary = [], {}, {}, {}
    for record in records:
        if record.HasField("history"):
            items = record.history.item
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
        for update in [record.run.config, record.config]:
            config |= {i.key: json.loads(i.value_json) for i in update.update}
        if record.HasField("metric"):
            metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        summary |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update}
    exits = [record.exit.exit_code for record in records if record.HasField("exit")]
    (start,) = [record.run for record in records if record.HasField("run")][:1]
    return {"rows": rows, "config": config, "metrics": metrics, "exit": exits[-1], "start": start, "summary": summary}


def offline_folders(run):
    return sorted((run.path / "wandb").glob("offline-run-*"), key=lambda folder: folder.stat().st_mtime)
