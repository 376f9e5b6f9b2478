"""``method=prune``: what adds least to the answers of a trained task goes."""

from __future__ import annotations

import logging
from itertools import islice

from groundup.config.tree import Config
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.models.shrinking import importance, shrink, zero_smallest
from groundup.models.transformer import Transformer
from groundup.stages.build import build_task
from groundup.tasks.base import Task

log = logging.getLogger(__name__)
BATCHES = 32  # of training rows that importance is judged by
KEEP_ZEROS = {"_target_": "groundup.training.keep_zeros.KeepZeros"}


def pruned(task: Task, config: Config, data: TextData, amount: float, structured: bool) -> Task:
    """The task without ``amount`` of its heads and units, or of its weights; ``config`` describes it from then on.

    Raises UserError for a model without heads, and one in which heads cannot go.
    """
    if not structured:
        log.info("zeros: %.1f%% of the weights of matrices", 100 * zero_smallest(task.model, amount))
        # Before all others, so that an average of the weights has these zeros, too.
        config.callbacks = {"keep_zeros": KEEP_ZEROS, **(config.get("callbacks") or {})}
        return task
    parts = [part for part in task.model.modules() if isinstance(part, Transformer)]
    if not parts:
        raise UserError(
            f"method=prune takes whole heads and units of Transformers, and {type(task.model).__name__} has none. "
            "Try structured=false"
        )
    if any(part.slopes is not None for part in parts):
        raise UserError(
            "method=prune: with position=alibi each head has its own distances, and none can go. Try structured=false"
        )
    batches = min(BATCHES, data.batches_per_epoch)
    stream = islice(data.train_loader(task.collator(), batches), batches)
    scores = importance(task.model, lambda: task.loss(next(stream)).total, batches)
    weights, shapes = shrink(task.model, scores, amount)
    for name, shape in shapes.items():
        node = config.at(".".join(["model", *name.split(".")[:-1]]))
        node.update(vars(shape))
        log.info("%s: %s", name, ", ".join(f"{key} {value}" for key, value in vars(shape).items()))
    smaller = build_task(config, task.facts, task.tokenizer)
    smaller.load_state_dict({**task.state_dict(), **{f"model.{name}": value for name, value in weights.items()}})
    return smaller.eval()
