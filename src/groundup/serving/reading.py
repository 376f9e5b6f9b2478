"""JSON of a request: text in UTF-8 with finite numbers."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from groundup.serving.request_error import RequestError


def read_json(body: bytes) -> Any:
    """What a body holds. Raises RequestError for anything but JSON."""
    if not body.strip():
        raise RequestError(400, "the body is empty: send JSON")
    try:
        value = json.loads(body.decode(), parse_constant=_no_number, parse_float=_finite)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        raise RequestError(400, "the body holds half a character: an escape of U+D800 to U+DFFF alone") from None
    except UnicodeDecodeError as error:
        raise RequestError(400, f"the body is no UTF-8: byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise RequestError(400, f"the body is no JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise RequestError(400, "the JSON has too many brackets within each other") from None
    except ValueError:  # a whole number of thousands of digits
        raise RequestError(400, "the body holds a number that is too large") from None


def _no_number(name: str) -> NoReturn:
    raise RequestError(400, f"the body is no JSON: {name} is no number there")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise RequestError(400, "the body holds a number that is too large")
    return value
