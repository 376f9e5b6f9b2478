"""Ranges of numbers in a configuration, as annotations: ``config.check`` refuses what lies outside."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # a share that is never all, as of dropout
