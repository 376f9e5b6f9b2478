"""How far a student's hidden states are from its teacher's, through a learned map from one width to the other."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from groundup.models.backbone import Backbone
from groundup.models.heads import Head
from groundup.models.transformer import Transformer


class HiddenStates(Head):
    """Linear maps (D of the student, D of the teacher), one for each pair of layers; and what these layers gave last.

    Layers are spread evenly: of 2 beside 6, the third and the sixth. Where one of the two is no Transformer, whose layers
    keep a vector for each token in its place, the vectors that the whole model gives are the only pair.

    Its parameters are trained with the student and are not among its weights: ``state_dict`` leaves them out.

    Source: Jiao et al. 2020 (TinyBERT); here teachers' vectors have unit variance, so that the strength means the same for all.
    """

    def __init__(self, student: Backbone, teacher: Backbone) -> None:
        super().__init__()
        self.pairs = len(paired(student, teacher))
        generator = torch.Generator().manual_seed(0)  # no random number of the training is taken
        for number in range(self.pairs):
            drawn = torch.randn(teacher.width, student.width, generator=generator) * student.width**-0.5
            self.register_parameter(f"map_{number}", nn.Parameter(drawn))
        self._handles: list[RemovableHandle] = []
        self._seen: dict[tuple[str, int], Tensor] = {}

    def watch(self, student: Backbone, teacher: Backbone) -> None:
        """From here on what the layers give is kept, the newest of each."""
        for number, modules in enumerate(paired(student, teacher)):
            for side, module in zip(("student", "teacher"), modules, strict=True):
                self._handles.append(module.register_forward_hook(partial(self._keep, (side, number))))

    def _keep(self, place: tuple[str, int], module: nn.Module, given: Any, found: Any) -> None:
        self._seen[place] = found[0] if isinstance(found, tuple) else found

    def leave(self) -> None:
        """Keeps nothing any more."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._seen.clear()

    def distance(self, attention_mask: Tensor | None, strength: float) -> Tensor:
        """Strength x the mean squared distance a feature (), over real tokens, attention_mask (B, T), and pairs of layers."""
        found = []
        for number in range(self.pairs):
            theirs = self._seen["teacher", number].float()  # (B, T, D)
            ours = F.linear(self._seen["student", number].float(), self.get_parameter(f"map_{number}"))
            apart = (ours - F.layer_norm(theirs, theirs.shape[-1:])).square().mean(-1)
            found.append(apart.mean() if attention_mask is None else apart[attention_mask].mean())
        return strength * torch.stack(found).mean()

    def _save_to_state_dict(self, *where: Any) -> None:
        return

    def _load_from_state_dict(self, *where: Any) -> None:
        return


def paired(student: Backbone, teacher: Backbone) -> list[tuple[nn.Module, nn.Module]]:
    """Layers of a student with those of its teacher that they learn from."""
    if not (isinstance(student, Transformer) and isinstance(teacher, Transformer)):
        return [(student, teacher)]
    ours, theirs = len(student.blocks), len(teacher.blocks)
    return [(block, teacher.blocks[-(-(place + 1) * theirs // ours) - 1]) for place, block in enumerate(student.blocks)]
