"""Base of every configuration: strict pydantic models read from YAML and ``key=value`` overrides."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import Self

__all__ = ["Config", "ConfigError"]


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key, the rule and the value."""


class Config(BaseModel):
    """Strict, frozen settings. Unknown keys are errors that name the nearest known one.

    The docstring below a field is its description, for ``mixed-r1 help`` and docs/settings.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, with errors that name the key, the rule and the value."""
        unknown = [key for key in values if key not in cls.model_fields]
        if unknown:
            raise ConfigError("; ".join(cls._unknown(key, values[key]) for key in unknown))
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(_readable(error, cls)) from None

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, overrides: Iterable[str] = ()) -> Self:
        """Read a YAML file (or start from the defaults), then apply ``key=value`` overrides, values read as
        YAML.

        Nested keys use dots: ``reward.box_frame=norm1000``.
        """
        values: dict[str, Any] = {}
        if path is not None:
            try:
                loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raise ConfigError(f"{path} must be a readable YAML file, got {error}") from None
            if loaded is not None and not isinstance(loaded, dict):
                raise ConfigError(
                    f"{path} must hold a mapping of keys to values, got {type(loaded).__name__}"
                )
            values = loaded or {}
        for override in overrides:
            key, separator, text = override.partition("=")
            if not separator or not key:
                raise ConfigError(f"override must be of the form key=value, got {override!r}")
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ConfigError(f"override {key} must be a YAML value, got {text!r} ({error})") from None
            *parents, last = key.split(".")
            target = values
            for parent in parents:
                inner = target.get(parent)
                target[parent] = target = dict(inner) if isinstance(inner, dict) else {}
            target[last] = value
        return cls.from_mapping(values)

    @classmethod
    def _unknown(cls, key: str, value: Any) -> str:
        """What to say of an unknown key."""
        return _unknown_key(key, cls.model_fields)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write every field, defaults included, as YAML that ``load`` reads back to an equal object."""
        Path(path).write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _unknown_key(key: str, known: Iterable[str], parents: str = "") -> str:
    nearest = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.5)
    hint = f"; did you mean {parents}{nearest[0]}?" if nearest else ""
    return f"key must be a known setting, got {parents + str(key)!r}{hint}"


def _readable(error: ValidationError, model: type[BaseModel]) -> str:
    parts = []
    for item in error.errors():
        if item["type"] == "extra_forbidden":
            *parents, key = item["loc"]
            parts.append(_unknown_key(str(key), _fields(model, parents), "".join(f"{p}." for p in parents)))
            continue
        where, rule = (
            ".".join(map(str, item["loc"])),
            item["msg"].removeprefix("Value error, ").replace("valid tuple", "list"),
        )
        # A rule over several keys names them and their values; its input is all settings.
        parts.append(f"{where}: {rule}, got {item['input']!r}" if where else rule)
    return "; ".join(parts)


def _fields(model: type[BaseModel], path: Iterable[int | str]) -> Iterable[str]:
    """The settings of the model inside ``model`` at ``path``; none where there is no plain model there."""
    for name in path:
        field = model.model_fields.get(str(name))
        inner = field.annotation if field is not None else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return ()
        model = inner
    return model.model_fields
