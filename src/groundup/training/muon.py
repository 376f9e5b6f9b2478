"""One optimizer for a whole model: Muon for hidden matrices, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from groundup.errors import UserError
from groundup.ranges import Count, Rate

# Newton-Schulz polynomial x -> a x + b x^3 + c x^5: steep at 0, so that small singular values rise fast, and within
# [0.7, 1.2] after five rounds (Jordan et al. 2024)
A, B, C = 3.4445, -4.7750, 2.0315


class MuonAdamW(Optimizer):
    """Muon on groups whose ``kind`` is ``matrix``, AdamW on the others (see ``parameter_groups``).

    Muon steps along the nearest orthogonal matrix to the momentum, so that every direction of a matrix learns at one
    speed. Matrices of one shape are orthogonalised together in one batch; fused ones (query, key, value; the gates of
    an LSTM) are split first, by the group's ``splits``. Weight decay is decoupled in both.

    Args:
        params: groups from ``parameter_groups``.
        lr: Muon's learning rate.
        adamw_lr: learning rate of embeddings, heads and vectors.
        momentum: Nesterov momentum of Muon.
        betas, eps: of AdamW.
        weight_decay: for groups that do not say.
        rounds: Newton-Schulz iterations.
        scale: ``shape`` = sqrt(max(1, rows / columns)), the original; ``match_rms`` = 0.2 sqrt(max(rows, columns)),
            steps as large as AdamW's, so that one learning rate serves both (Liu et al. 2025).

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Annotated[float, Field(gt=0)] = 0.02,
        adamw_lr: Annotated[float, Field(gt=0)] = 3e-3,
        momentum: Rate = 0.95,
        betas: tuple[Rate, Rate] = (0.9, 0.95),
        eps: Annotated[float, Field(gt=0)] = 1e-10,
        weight_decay: Annotated[float, Field(ge=0)] = 0.0,
        rounds: Count = 5,
        scale: Literal["shape", "match_rms"] = "shape",
    ):
        defaults = {"lr": lr, "momentum": momentum, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        defaults["fused"] = (
            True  # read by Optimizer.load_state_dict: AdamW's step counters go to the parameters' device
        )
        self.rounds, self.scale = rounds, scale
        groups = list(params)
        if not all(isinstance(group, dict) and "kind" in group for group in groups):
            raise RuntimeError("MuonAdamW takes the groups of parameter_groups(module, ...), which know their kind")
        groups = [dict(group) for group in groups]
        for group in groups:
            group["lr"] = (lr if group["kind"] == "matrix" else adamw_lr) * group.get("lr_scale", 1.0)
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["kind"] == "matrix":
                self._muon(group)
            else:
                self._adamw(group)
        return loss

    def _muon(self, group: dict[str, Any]) -> None:
        chosen = [(name, p) for name, p in zip(group["names"], group["params"], strict=True) if p.grad is not None]
        if not chosen:
            return
        parameters = [parameter for _, parameter in chosen]
        gradients = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            if not self.state[parameter]:
                if type(parameter.data) is not Tensor and hasattr(parameter, "full_tensor"):
                    raise UserError("Muon needs whole matrices, and trainer=fsdp shards them. Try optimizer=adamw")
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, momenta, group["momentum"])  # Nesterov: one step ahead

        by_shape: dict[tuple, list[tuple[Tensor, Tensor]]] = {}
        for (name, parameter), update in zip(chosen, updates, strict=True):
            target, update = parameter.flatten(1), update.flatten(1)  # flatten(1) of a matrix is a view of itself
            rows = group["splits"].get(name) or [update.shape[0]]
            for part, step in zip(target.split(rows), update.split(rows), strict=True):
                by_shape.setdefault((step.shape, step.dtype, step.device), []).append((part, step))
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        for (shape, *_), pairs in by_shape.items():
            direction = orthogonalize(torch.stack([step for _, step in pairs]), self.rounds)
            size = -group["lr"] * self._size(*shape)
            torch._foreach_add_([part for part, _ in pairs], list(direction.to(pairs[0][0].dtype)), alpha=size)

    def _size(self, rows: int, columns: int) -> float:
        return max(1.0, rows / columns) ** 0.5 if self.scale == "shape" else 0.2 * max(rows, columns) ** 0.5

    def _adamw(self, group: dict[str, Any]) -> None:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not parameters:
            return
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update(
                    step=torch.zeros((), dtype=torch.float32, device=parameter.device),
                    exp_avg=torch.zeros_like(parameter),
                    exp_avg_sq=torch.zeros_like(parameter),
                )
        states = [self.state[parameter] for parameter in parameters]
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalize(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Nearest (half-)orthogonal matrix of each in a batch: U V^T of the singular value decomposition, roughly.

    Shapes: (N, rows, columns) -> same. Singular values end within about [0.7, 1.2]. bf16 on CUDA, fp32 elsewhere.

    Where one side is at least twice the other, the iteration runs on the small Gram matrix G = X X^T: every iterate is
    P X with P a polynomial in G, so the long side is multiplied twice in all instead of twice a round. Squaring needs
    fp32's digits, so bf16 keeps to the plain form.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x.float()
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-30)[:, None, None]  # Frobenius norm bounds the largest singular value
    if x.shape[-1] >= 2 * x.shape[-2] and not x.is_cuda:
        gram = x @ x.mT
        product: Tensor | None = None
        for i in range(rounds):
            q = _polynomial(gram)
            product = q if product is None else q @ product
            if i + 1 < rounds:
                gram = q @ gram @ q
        assert product is not None
        x = product @ x
    else:
        if x.is_cuda:
            x = x.bfloat16()
        for _ in range(rounds):
            x = _polynomial(x @ x.mT) @ x
    return x.mT if tall else x


def _polynomial(gram: Tensor) -> Tensor:
    """a I + b G + c G^2, shapes (N, m, m) -> (N, m, m)."""
    q = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
    q.diagonal(dim1=-2, dim2=-1).add_(A)
    return q
