"""The keys at the top of a configuration that are plain values. Groups with a ``_target_`` are checked by signature.

A new root key is one line here, with its range, and one in the YAML, with its unit and reason.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from groundup.ranges import Count, Rate, Share

Positive = Annotated[float, Field(gt=0)]
Node = dict[str, Any]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Budget(Strict):
    """How long to train, in one unit."""

    steps: Count | None = None
    tokens: Count | None = None
    epochs: Positive | Literal["auto"] | None = None
    minutes: Positive | None = None


class Parts(Strict):
    """Runs that an encoder and a decoder are taken from."""

    encoder: str | None = None
    decoder: str | None = None


class Lora(Strict):
    """Low-rank adapters beside the linear maps of a loaded model."""

    rank: Count | None = None
    alpha: Positive = 16.0
    dropout: Rate = 0.0
    where: list[str] = ["blocks"]
    train: list[str] = []


class Size(Strict):
    """Shape of a model, for each choice of ``model``."""

    width: Count
    layers: Count
    heads: Count
    recurrent_layers: Count


class Wandb(Strict):
    """What ``logger=wandb`` reads."""

    mode: Literal["offline", "online", "disabled"]
    project: str
    group: str | None = None
    tags: list[str] = []
    notes: str | None = None
    entity: str | None = None
    folder: str | None = None
    checkpoints: bool = False


class Paths(Strict):
    logs: str
    cache: str | None = None


class Limits(Strict):
    """What a server takes of one request, and of all that wait."""

    rows: Count = 256
    characters: Count = 100_000
    bytes: Count = 1_000_000
    new_tokens: Count = 1024
    queue: Count = 1024
    seconds: Positive = 60.0


class Root(Strict):
    """Every root key of every stage; a stage's YAML says which of them it has."""

    # Groups; each is checked against its target.
    data: Node | None = None
    tokenizer: Node | None = None
    target_tokenizer: Node | None = None
    model: Node | None = None
    size: Size | None = None
    task: Node | None = None
    batching: Node | None = None
    optimizer: Node | None = None
    scheduler: Node | None = None
    trainer: Node | None = None
    callbacks: Node | None = None
    augmentation: Node | None = None
    self_training: Node | None = None
    logger: Node | None = None
    wandb: Wandb | None = None
    decoding: Node | None = None
    baseline: Node | None = None
    dashboard: Node | None = None
    paths: Paths | None = None
    # Training.
    stage: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    threads: Count | None = None
    budget: Budget | None = None
    minutes_at_most: Positive | None = None
    validate_every: Count = 100
    monitor: str = "validation/loss"
    monitor_mode: Literal["min", "max"] | None = None
    checkpoint_every: Count = 200
    init_from: str | Parts | None = None
    task_adaptive: bool | None = None
    task_adaptive_epochs: Positive = 5.0
    lora: Lora | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    l1: Annotated[float, Field(ge=0)] = 0.0
    compile: bool = False
    num_workers: Annotated[int, Field(ge=0, le=256)] = 0
    baselines: bool = False
    folds: Annotated[int, Field(ge=2, le=100)] | Literal["auto"] | None = None
    fold: Count | None = None
    held_out: Count | None = None
    run_name: str | None = None
    # Learning from a finished run.
    teacher: str | None = None
    alpha: Share = 0.9
    temperature: Annotated[float, Field(gt=0, le=1000)] = 4.0
    hidden: Annotated[float, Field(ge=0, le=1000)] = 0.0
    # Making a finished run smaller.
    method: Literal["quantize", "prune"] | None = None
    amount: Annotated[float, Field(gt=0, lt=1)] = 0.5
    structured: bool = True
    recover: Annotated[int, Field(ge=0)] = 200
    int8: bool = False
    # Using a finished run.
    run: str | list[str] | None = None
    sweep: str | None = None
    job: Annotated[int, Field(ge=0)] | None = None
    explain: Annotated[int, Field(ge=0, le=100)] = 0
    calibrated: bool = False
    scheme: Literal["auto", "none", "bio", "iob1", "bioes"] | None = None
    split: Literal["train", "validation", "test"] | None = None
    input: str | None = None
    output: str | None = None
    text: str | None = None
    text_pair: str | None = None
    source: str | None = None
    tokens: str | None = None
    question: str | None = None
    context: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    columns: list[str] | None = None
    prefix: str = ""
    batch_size: Count = 64
    accelerator: str | None = None
    precision: str | int | None = None
    prompt: str = ""
    samples: Annotated[int, Field(ge=0)] = 1
    # Runs that answer together.
    members: list[str] = []
    # Comparing runs.
    runs: list[str] | None = None
    format: Literal["md", "latex", "csv", "html", "onnx", "hf"] = "md"
    # In and out.
    path: str | None = None
    license: Annotated[str, Field(pattern=r"^[\w.-]{1,60}$")] | None = None
    # Planning a training.
    verb: Literal["pretrain", "finetune"] | None = None
    # Uploading.
    dry_run: bool = False
    project: str = "groundup"
    entity: str | None = None
    folder: str | None = None
    # The best as an experiment.
    name: str | None = None
    # Reports.
    folders: list[str] = []
    figures: bool = False
    serve: bool = False
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    # Serving runs.
    host: str | None = None
    wait_ms: Annotated[float, Field(ge=0, le=1000)] = 2.0
    limits: Limits | None = None
    # Listing runs.
    where: list[str] = []
    most: Count | None = None
    inside: bool = False
    remove_failed: bool = False
    ask: bool = True
    training: bool = True
    # Pipelines.
    steps: dict[str, Node] | None = None
    learning_curve: list[Count | Literal["all"]] = []
    overrides: list[str] = []
    metrics: list[str] = []
