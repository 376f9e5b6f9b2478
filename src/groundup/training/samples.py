"""What the model writes at each validation: the quickest look at what it has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from pydantic import Field

from groundup.decoding.sampling import Sampler
from groundup.training.ema import EMA


class Samples(Callback):
    """Continues each prompt at every validation and writes ``samples/step_N.txt``. Idle for tasks that do not write
    text, and under ``trainer=fsdp``.

    Drawn with generators of their own, so that training goes on exactly as it would without.

    Args:
        prompts: what the texts start with.
        max_new_tokens: length of each continuation, tokens.
        temperature: of the draw; 0 is greedy.
        seed: of the first prompt, seed + 1 of the second; the same at each validation, so that texts can be compared.
    """

    def __init__(
        self,
        prompts: list[str],
        max_new_tokens: Annotated[int, Field(ge=1)] = 80,
        temperature: Annotated[float, Field(ge=0)] = 0.8,
        seed: int = 0,
    ) -> None:
        self.prompts = list(prompts)
        self.max_new_tokens = max_new_tokens
        self.sampler = Sampler(temperature=temperature, top_p=0.95)
        self.seed = seed
        self.dirpath: Path | None = None  # set by the fitting code: <run>/samples

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        task: Any = pl_module
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        spread = task.device_mesh is not None  # over processes, and only one of them would write
        if not fitting or not trainer.is_global_zero or not hasattr(task, "write") or spread:
            return
        assert self.dirpath is not None, "Samples.dirpath is set by the fitting code"
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        with EMA.weights_for_use(trainer, task):
            texts = [
                prompt
                + "".join(task.write(tokenizer, prompt, self.max_new_tokens, self.sampler, seed=self.seed + number))
                for number, prompt in enumerate(self.prompts)
            ]
        self.dirpath.mkdir(parents=True, exist_ok=True)
        rule = "\n" + "-" * 80 + "\n"
        (self.dirpath / f"step_{trainer.global_step:09d}.txt").write_text(rule.join(texts) + "\n", encoding="utf-8")
