"""Checks one value against one type annotation, and says in words what is wrong; the check itself is pydantic's."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from groundup.config.spelling import closest

MISSING = "???"
EMPTY = inspect.Parameter.empty
BOUNDS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}
SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    dict: "keys with values",
}


@dataclass(frozen=True)
class Parameter:
    """A name that a config node may hold. ``default`` is EMPTY when it must be given."""

    annotation: Any = Any
    default: Any = EMPTY


@dataclass(frozen=True)
class Misfit:
    """What is wrong with a value, at which index of a list, and a value that would do (EMPTY when none is known)."""

    reason: str
    index: str = ""
    better: Any = EMPTY


def misfit(parameter: Parameter, value: Any) -> Misfit | None:
    """Why ``value`` does not fit, or None. Annotations that pydantic cannot read fit everything."""
    adapter = adapter_for(parameter.annotation)
    if adapter is None:
        return None
    try:
        result = adapter.validate_python(value)
    except ValidationError as error:
        return explain_misfit(error.errors(include_url=False), parameter, value)
    except Exception:  # a foreign type's own validator stumbled; the constructor will have its say
        return None
    if coerced(value, result):  # pydantic read "3" as 3, but the constructor will get the text
        return Misfit(f"must be {in_words(parameter.annotation)}", better=fallback(parameter, value))
    return None


def fits(parameter: Parameter, text: str) -> bool:
    """Whether a text, or the number that it names, fits."""
    number = as_number(text)
    return misfit(parameter, text if number is EMPTY else number) is None


def explain_misfit(errors: Sequence[Mapping], parameter: Parameter, value: Any) -> Misfit | None:
    if all(error["type"] == "is_instance_of" for error in errors) and not isinstance(value, str | int | float | list):
        return None
    better = fallback(parameter, value)
    bounds = [error for error in errors if error["type"] in BOUNDS]
    index = "".join(f"[{key}]" for key in errors[0]["loc"] if isinstance(key, int)) if len(errors) == 1 else ""
    if len(bounds) == 1 and all(error["type"] == "none_required" for error in errors if error not in bounds):
        key, words = BOUNDS[bounds[0]["type"]]
        limit = bounds[0]["ctx"][key]
        if better is EMPTY and key in ("ge", "le"):
            better = limit
        return Misfit(f"{words} {shown(limit)}", index, better if not index else EMPTY)
    allowed = choices(parameter.annotation)
    if allowed and not isinstance(better, list):
        better = near_choice(str(value), [str(choice) for choice in allowed])
    return Misfit(f"must be {in_words(parameter.annotation)}", index, better if not index else EMPTY)


def fallback(parameter: Parameter, value: Any) -> Any:
    """The value as a number or a list, if that fits; else the default, if one can type it and it is no guess.

    The default of a list is a guess where a single value was typed: the rest of what it stood for would change. So is
    zero, which switches off what was asked for.
    """
    for number in (as_number(value), as_share(value)):
        if number is not EMPTY and misfit_free(parameter.annotation, number):
            return number
    items = [word.strip() for word in value.split(",")] if isinstance(value, str) else [value]
    if isinstance(value, str | int | float) and misfit_free(parameter.annotation, items):
        return items
    default = parameter.default
    if default is EMPTY or default == value or not isinstance(default, bool | int | float | str | list | tuple):
        return EMPTY
    if isinstance(default, list | tuple) and not isinstance(value, list | tuple):
        return EMPTY
    return EMPTY if default in ("", 0) or isinstance(default, bool) else default


def as_number(value: Any) -> Any:
    """``'32'`` and ``1e4`` as the whole numbers that they name, else EMPTY."""
    try:
        number = float(value) if isinstance(value, str | float) else float("nan")
    except ValueError:
        return EMPTY
    return int(number) if number.is_integer() else EMPTY if isinstance(value, float) or number != number else number


def as_share(value: Any) -> Any:
    """``'50%'`` as 0.5, else EMPTY."""
    if not isinstance(value, str) or not value.endswith("%"):
        return EMPTY
    try:
        return float(value[:-1]) / 100
    except ValueError:
        return EMPTY


def near_choice(word: str, words: Sequence[str]) -> Any:
    """The only choice that ``word`` continues, begins, or misses by a slip; EMPTY: the choices are listed, none is guessed."""
    word = word.lower()
    begun = [one for one in words if min(len(one), len(word)) > 2 and (word.startswith(one) or one.startswith(word))]
    return begun[0] if len(begun) == 1 else closest(word, words) or EMPTY


def misfit_free(annotation: Any, value: Any) -> bool:
    adapter = adapter_for(annotation)
    try:
        return adapter is not None and not coerced(value, adapter.validate_python(value))
    except Exception:
        return False


def coerced(value: Any, result: Any) -> bool:
    """Whether pydantic had to change the kind of a value (which the constructor will get unchanged)."""
    if isinstance(value, list | tuple) and isinstance(result, list | tuple) and len(value) == len(result):
        return any(coerced(one, other) for one, other in zip(value, result, strict=True))
    if isinstance(value, Mapping) and isinstance(result, Mapping):
        return any(key in result and coerced(value[key], result[key]) for key in value)
    if isinstance(value, str):
        return isinstance(result, bool | int | float)
    if isinstance(value, bool) or isinstance(result, bool):
        return type(value) is not type(result)
    return isinstance(value, float) and isinstance(result, int)


@cache
def _adapter(annotation: Any) -> TypeAdapter | None:
    for config in (ConfigDict(arbitrary_types_allowed=True), None):
        try:
            return TypeAdapter(annotation, config=config)
        except Exception:  # no schema for this type, or one that brings its own config
            continue
    return None


def adapter_for(annotation: Any) -> TypeAdapter | None:
    if annotation in (Any, EMPTY):
        return None
    try:
        return _adapter(annotation)
    except TypeError:  # unhashable metadata
        return _adapter.__wrapped__(annotation)


def in_words(annotation: Any) -> str:
    """``Annotated[float, Field(ge=0, lt=1)] | None`` -> "a number >= 0 and < 1, or null"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = [limit for item in arguments[1:] for limit in limits_of(item)]
        return " ".join([in_words(arguments[0]), " and ".join(limits)]).strip()
    if origin in (typing.Union, types.UnionType):
        typed = [argument for argument in arguments if not is_built(argument)] or arguments
        lists = [one for one in typed if typing.get_origin(one) is typing.Literal]
        if len(lists) > 1:  # read as one
            choices = tuple(choice for one in lists for choice in typing.get_args(one))
            typed = [typing.Literal[choices], *(one for one in typed if one not in lists)]
        words = list(dict.fromkeys(in_words(argument) for argument in typed))
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    if origin is typing.Literal:
        return f"one of {', '.join(shown(argument) for argument in arguments)}"
    if origin in (list, tuple) or annotation in (list, tuple) or is_sequence(origin):
        items = [argument for argument in arguments if argument is not Ellipsis]
        return f"a list [{', '.join(in_words(item) for item in items)}]" if items else "a list"
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return NAMES[dict]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"keys out of {', '.join(annotation.model_fields)}"
    return NAMES.get(annotation) or f"a {getattr(annotation, '__name__', annotation)}"


def is_built(annotation: Any) -> bool:
    """Whether nobody can type a value of it: ``torch.Tensor``, say."""
    return isinstance(annotation, type) and annotation not in NAMES and annotation.__module__.startswith("torch")


def is_sequence(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str


def limits_of(metadata: Any) -> list[str]:
    """``Field(ge=0, lt=1)`` -> [">= 0", "< 1"]."""
    parts = getattr(metadata, "metadata", None) or [metadata]
    return [
        f"{SIGNS[key]} {shown(getattr(part, key))}"
        for part in parts
        for key in SIGNS
        if getattr(part, key, None) is not None
    ]


def choices(annotation: Any) -> list[Any]:
    """All values of the ``Literal``s in an annotation."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [choice for argument in typing.get_args(annotation) for choice in choices(argument)]


def shown(value: Any) -> str:
    """A value as one would type it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(shown(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{...}" if value else "{}"
    if isinstance(value, str):
        return value if value and not set(value) & set(" \t\n,=[]{}'\"") else repr(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
