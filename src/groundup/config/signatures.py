"""What the constructor of a ``_target_`` takes, and what the code adds to it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

from pydantic import Field

from groundup.config.values import Parameter
from groundup.ranges import Rate

# Arguments that the code adds when it builds a node. "*": whatever is absent, the code brings.
SUPPLIED: Mapping[str, Collection[str]] = {
    "model": {"vocab_size"},
    "task": {"model", "facts", "tokenizer", "optimize"},
    "augmentation": {"tokenizer", "examples"},
    "optimizer": {"*"},
    "scheduler": {"*"},
    "callbacks": {"*"},
    "logger": {"*"},
    "trainer": {"*"},
}
# Arguments that the code gives, whatever a configuration says.
SET_BY_CODE: Mapping[str, Collection[str]] = {
    "model": {"vocab_size", "target_vocab_size"},
    "task": {"model", "facts", "tokenizer", "optimize"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "total_steps"},
    "trainer": (
        "max_epochs max_steps check_val_every_n_epoch val_check_interval num_sanity_val_steps use_distributed_sampler plugins "
        "callbacks logger enable_checkpointing enable_progress_bar enable_model_summary default_root_dir fast_dev_run"
    ).split(),
}
# Keys of a node that the stage reads, and no constructor: what it builds is filled from them.
OF_STAGE: Mapping[str, Mapping[str, Parameter]] = {"model": {"vectors": Parameter(str | None, None)}}
# Ranges that constructors of other packages check only when they are called.
_NOT_NEGATIVE = Annotated[float, Field(ge=0)]
OF_OTHERS: Mapping[str, Mapping[str, Any]] = {
    "optimizer": {
        **dict.fromkeys(("lr", "eps", "weight_decay", "momentum"), _NOT_NEGATIVE),
        "betas": tuple[Rate, Rate],
    }
}
SPECIAL = {"_target_", "_partial_"}


def parameters_of(target: Callable, options: bool = False) -> tuple[dict[str, Parameter], bool] | None:
    """(parameters, takes any ``**kwargs``) of a class or function; None when it has no readable signature.

    ``**name: Annotated[Any, Class]`` stands for the options of another class, which are its keyword-only parameters;
    ``options``: those alone.
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return None
    hints = type_hints(target)
    kinds = inspect.Parameter
    wanted = (kinds.KEYWORD_ONLY,) if options else (kinds.KEYWORD_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    parameters, passed, takes_any = {}, {}, False
    for name, parameter in signature.parameters.items():
        if parameter.kind in wanted:
            parameters[name] = Parameter(hints.get(name, Any), parameter.default)
        elif parameter.kind is kinds.VAR_KEYWORD:
            found = [parameters_of(cls, options=True) for cls in getattr(hints.get(name), "__metadata__", ())]
            passed = found[0][0] if found and found[0] else {}
            takes_any = not found
    return parameters | {name: value for name, value in passed.items() if name not in signature.parameters}, takes_any


def options_of(outer: type, inner: Callable) -> dict[str, Parameter]:
    """The keyword-only arguments of a class that is put around an ``inner`` one, but for names that this has itself."""
    found, own = parameters_of(outer, options=True), parameters_of(inner)
    assert found is not None  # it is a class of ours
    return {name: value for name, value in found[0].items() if own is None or name not in own[0]}


def type_hints(target: Callable) -> dict[str, Any]:
    """Annotations with their metadata; a hint that cannot be evaluated here is left out."""
    function = target.__init__ if inspect.isclass(target) else target
    function = inspect.unwrap(function)
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        names = getattr(function, "__annotations__", {})
    hints: dict[str, Any] = {}
    for name, hint in names.items():
        try:
            single = type("Single", (), {"__annotations__": {name: hint}})
            hints |= typing.get_type_hints(single, getattr(function, "__globals__", {}), include_extras=True)
        except Exception:  # imported under TYPE_CHECKING only, say
            continue
    return hints
