"""Every setting, from the models that check it: what ``mixed-r1 help`` prints and docs/settings.md lists.

python -m mixed_r1.reference > docs/settings.md
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from mixed_r1.config import ConfigError
from mixed_r1.data.filters import FILTERS
from mixed_r1.data.filters.base import Filter
from mixed_r1.data.recipe import Recipe
from mixed_r1.data.sources import KINDS
from mixed_r1.data.spec import SourceSpec
from mixed_r1.foreign_names import FOREIGN_NAMES, hints
from mixed_r1.loading import load_object
from mixed_r1.rewards import RewardConfig
from mixed_r1.train_config import TrainConfig

__all__ = ["Section", "Setting", "look_up", "page", "sections"]

BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}
LENGTHS = {"min_length": "at least", "max_length": "at most"}
ABOUT = (
    "Every setting of training, rewards, sources, recipes and filters, made from the models that check them",
    "(`python -m mixed_r1.reference`). `mixed-r1 help KEY` prints an entry, `mixed-r1 help` the sections.",
    "Settings of training stand in a YAML file or after it as `key=value`; those of a section below it stand",
    "under its name (`reward.format=answer`).",
)
PLAIN = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true | false",
    Path: "path",
    type(None): "none",
}


class Setting(NamedTuple):
    """``key`` is what stands in the file of the section; ``name`` is its key for ``mixed-r1 help``."""

    name: str
    key: str
    values: str
    default: str
    meaning: str
    example: str


class Section(NamedTuple):
    """Settings that are checked together. ``name`` comes before their keys; "" for training."""

    name: str
    title: str
    about: str
    settings: tuple[Setting, ...]


def sections() -> list[Section]:
    """All of them, in the order of the page."""
    found = [
        _section(base, "", base.__name__.removesuffix("Settings"), only=base.__annotations__)
        for base in reversed(TrainConfig.__mro__)
        if base is not BaseModel and issubclass(base, BaseModel) and base.__module__ == TrainConfig.__module__
    ]
    found = [section._replace(title=f"Training: {section.title}") for section in found[:-1]] + [
        found[-1]._replace(title="Training: run")
    ]
    found += _nested(RewardConfig, "reward", "Reward")
    found.append(_section(SourceSpec, "source", "Source of rows"))
    for kind, path in KINDS.items():
        model = load_object(path, what="kind")
        found.append(_section(model, f"source.{kind}", f"Source: kind {kind}"))
    found += _nested(Recipe, "recipe", "Recipe")
    found.append(_section(Filter, "filter", "Filter"))
    for name, model in FILTERS.items():
        found.append(_section(model, f"filter.{name}", f"Filter: {name}", only=model.__annotations__))
    return found


def look_up(key: str) -> list[Section]:
    """The setting of that name, or the section of that name with those below it.

    The last part of a key is enough, and so is what another trainer calls it. Raises ConfigError that says
    what was meant.
    """
    known = sections()
    key = key.removeprefix("--").partition("=")[0].strip().strip(".")
    named = [section for section in known if section.name and _is_below(section.name, key)]
    if named:
        return named
    titled = [section for section in known if section.title.lower().endswith(f": {key.lower()}")]
    if titled:
        return titled
    ours = FOREIGN_NAMES.get(key.rpartition(".")[2], "").partition(":")[0].partition(" ")[0]
    for matches in (
        lambda setting: setting.name == key,
        lambda setting: setting.key == key or setting.name.endswith(f".{key}"),
        lambda setting: setting.name == ours,
        lambda setting: setting.name == key.rpartition(".")[2],
    ):
        found = [(section, tuple(filter(matches, section.settings))) for section in known]
        if any(settings for _, settings in found):
            return [section._replace(settings=settings) for section, settings in found if settings]
    meant = list(dict.fromkeys(hints(key)))
    if not meant:
        names = [setting.name for section in known for setting in section.settings]
        short = {name.rpartition(".")[2]: name for name in reversed(names)}
        near = difflib.get_close_matches(key, [*names, *short], n=2, cutoff=0.6)
        if near:
            meant = [f"did you mean {' or '.join(dict.fromkeys(short.get(name, name) for name in near))}?"]
    remedy = "; ".join(meant) or "mixed-r1 help lists the sections"
    raise ConfigError(f"key must be a known setting or section, got {key!r}; {remedy}")


def page() -> str:
    """docs/settings.md."""
    lines = ["# Settings", "", *ABOUT]
    for section in sections():
        lines += ["", f"## {section.title}", "", section.about, ""]
        if not section.settings:
            continue
        lines += ["| key | values | default | meaning | example |", "|---|---|---|---|---|"]
        for setting in section.settings:
            cells = (
                f"`{setting.key}`",
                setting.values,
                f"`{setting.default}`" if setting.default else "required",
                setting.meaning,
                f"`{setting.example}`",
            )
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines).replace("``", "`") + "\n"


def _is_below(name: str, key: str) -> bool:
    return name == key or name.startswith(f"{key}.")


def _nested(model: type[BaseModel], name: str, title: str) -> Iterator[Section]:
    """The section of ``model``, and those of the settings that are models themselves."""
    yield _section(model, name, title)
    for key, field in model.model_fields.items():
        for inner in _models(field.annotation):
            if inner not in (SourceSpec, Filter):
                yield from _nested(inner, f"{name}.{key}", f"{title}: {key}")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _section(
    model: type[BaseModel], name: str, title: str, only: Sequence[str] | dict[str, Any] | None = None
) -> Section:
    fields = model.model_fields.items()
    settings = [_setting(name, key, field) for key, field in fields if only is None or key in only]
    about = " ".join((model.__doc__ or "").partition("\n\n")[0].split())
    return Section(name, title, about, tuple(settings))


def _setting(section: str, key: str, field: FieldInfo) -> Setting:
    default = "" if field.is_required() else _text(field.get_default(call_default_factory=True))
    example = _example(field, default)
    name = f"{section}.{key}" if section else key
    of_run = section.partition(".")[0] in ("", "reward")  # key=value on the command line; else YAML
    return Setting(
        name=name,
        key=key,
        values=_values(field),
        default=default,
        meaning=" ".join((field.description or "").split()),
        example=f"{name}={example}" if of_run else f"{key}: {example}",
    )


def _text(value: Any) -> str:
    """As it stands in YAML, on one line."""
    if isinstance(value, BaseModel):
        return "{}"
    plain = TypeAdapter(Any).dump_python(value, mode="json")
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _example(field: FieldInfo, default: str) -> str:
    if field.examples:
        example = field.examples[0]
        return example if isinstance(example, str) else _text(example)
    if field.annotation is bool:
        return "false" if default == "true" else "true"
    choices = [choice for choice in _choices(field.annotation) if _text(choice) != default]
    return _text(choices[0]) if choices else default


def _choices(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return [choice for part in get_args(annotation) for choice in _choices(part)]
    return []


def _values(field: FieldInfo) -> str:
    """What a setting may be, in words."""
    words = _type(field.annotation)
    bounds = []
    for rule in field.metadata:
        for name, text in BOUNDS.items():
            if (bound := getattr(rule, name, None)) is not None:
                bounds.append(f"{text} {bound:g}" if isinstance(bound, float) else f"{text} {bound}")
    return ", ".join([words, *bounds])


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in PLAIN:
        return PLAIN[annotation]
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(map(_type, parts)))
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return f"list of {_type(parts[0])}"
        return f"[{', '.join(map(_type, parts))}]"
    if origin is dict:
        return f"{{{_type(parts[0])}: {_type(parts[1])}}}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "settings"
    return "anything" if annotation is Any else getattr(annotation, "__name__", str(annotation))


if __name__ == "__main__":
    print(page(), end="")
