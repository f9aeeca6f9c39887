"""The texts of a row in the one form in which a built set holds them."""

from __future__ import annotations

import unicodedata
from typing import Any

__all__ = ["normalised"]


def normalised(fields: dict[str, Any]) -> dict[str, Any]:
    """Question, options and text answers in Unicode NFC without outer white space."""
    result = dict(fields)
    for name in ("question", "answer"):
        if isinstance(result.get(name), str):
            result[name] = _clean(result[name])
    if isinstance(result.get("options"), (list, tuple)):
        result["options"] = [_clean(v) if isinstance(v, str) else v for v in result["options"]]
    return result


def _clean(text: str) -> str:
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).strip()
