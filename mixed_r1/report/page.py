"""Putting the page together: numbers and drawings in, one HTML file out."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mixed_r1 import __version__
from mixed_r1.diagnosis import diagnose
from mixed_r1.report.charts import Curve, LineChart, compact, line_chart
from mixed_r1.report.rollouts import Card, rollout_cards
from mixed_r1.report.run_files import ReportError, Run, load_run
from mixed_r1.report.summary import (
    curve,
    evaluations,
    greedy_curves,
    headline,
    reasons,
    sampled_estimates,
    time_split,
)
from mixed_r1.report.wording import title
from mixed_r1.run_directory import Column, Metric
from mixed_r1.schema import task_order

__all__ = ["build_report"]

SMALL, WIDE, NARROW = (300, 132), (1032, 320), (354, 220)  # at their display sizes

NEAR_FILES = 6  # how many other completions files are searched for a task that the first or last one lacks
_HEALTH = (
    (Metric.ENTROPY, "Entropy", "nats per token"),
    (Metric.LENGTH_MEAN, "Completion length", "tokens"),
    (Metric.GRAD_NORM, "Gradient norm", "before clipping"),
    (Metric.FLAT, "Flat groups", "share with equal rewards"),
    (Metric.LENGTH_CUT, "Cut at the limit", "share of completions"),
    (Metric.CLIP_FRACTION, "Clip fraction", "share of tokens"),
    (Metric.KL, "KL to the start", "nats per token"),
    (Metric.LOSS, "Loss", ""),
    (Metric.TOKENS_PER_SECOND, "Throughput", "completion tokens per second"),
    (Metric.MEMORY_MB, "Memory", "MB"),
)


class Panel(NamedTuple):
    title: str
    unit: str
    chart: LineChart
    last: str


class Album(NamedTuple):
    """The cards of one saved step."""

    step: int
    cards: list[Card]


def build_report(run_dir: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a run as one HTML file without any outside reference; returns its path.

    ``run_dir`` is what ``mixed_r1.train.train`` writes; a run that is young, stopped or still going shows
    what it has. ``out`` defaults to ``run_dir/report.html``. Texts of the run (completions above all) are
    untrusted: they are escaped, and the page's content policy allows no script but its own.

    Raises:
        ReportError: ``run_dir`` is no run, one of its files is not of its format, or ``out`` cannot be
            written.
    """
    run = load_run(run_dir)
    return write_page(Path(out) if out is not None else run.files.report, _render(run))


def write_page(target: Path, page: str) -> Path:
    """Write the page whole or not at all; returns ``target``."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise ReportError(
            f"out must be a file that can be written, got {target} ({error.strerror})"
        ) from None
    return target


def environment() -> Environment:
    """The templates of pages: everything is escaped, nothing may be undefined."""
    made = Environment(
        loader=PackageLoader("mixed_r1.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        compact=compact,
        title=title,
        signed=lambda value, digits=2: f"{value:+.{digits}f}".replace("-", "\u2212"),
        duration=_duration,
        percent=lambda share: f"{100 * share:.0f}%" if share == 0 or share >= 0.01 else "<1%",
    )
    return made


def _render(run: Run) -> str:
    script = files("mixed_r1.report").joinpath("script.js.j2").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("page.html.j2")
        .render(**_context(run), script=Markup(script), script_digest=digest, version=__version__)
    )


def _context(run: Run) -> dict[str, Any]:
    modes = evaluations(run)
    columns, third = reasons(run)
    times = [
        row[Metric.WRITTEN_AT] for row in run.metrics if isinstance(row.get(Metric.WRITTEN_AT), (int, float))
    ]
    return {
        "run": run,
        "name": _short_path(run.path.resolve()),
        "headline": headline(run, modes),
        "facts": _facts(run),
        "modes": modes,
        "findings": diagnose(run.metrics, run.evaluation, run.seen),
        "greedy": _greedy_panels(run),
        "reward_charts": _reward_charts(run),
        "tasks": _panels(run, Metric.REWARD_OF_TASK, (0.0, 1.0)),
        "sources": _panels(run, Metric.REWARD_OF_SOURCE, (0.0, 1.0)),
        "time": time_split(run),
        "elapsed": times[-1] - times[0] if len(times) > 1 else 0.0,
        "columns": columns,
        "third": third,
        "shares": _shares(run, third),
        "health": [panel for spec in _HEALTH if (panel := _health(run, *spec)) is not None],
        "quiet": [heading for key, heading, _ in _HEALTH if _is_zero(curve(run.metrics, key))],
        "albums": _albums(run),
        "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True) if run.config else "",
        "written": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _facts(run: Run) -> list[tuple[str, str]]:
    """What was run, in a handful of label and value pairs."""
    config = run.config
    facts = []
    if config.get("model"):
        facts.append(("Model", _short_path(config["model"])))
    if config.get("data"):
        facts.append(("Data", _short_path(config["data"])))
    if run.metrics:
        planned = config.get("steps")
        done = f"{run.metrics[-1][Metric.STEP]:,}"
        facts.append(("Steps", f"{done} of {planned:,}" if isinstance(planned, int) else done))
    prompts, group = config.get("prompts_per_step"), config.get("completions_per_prompt")
    if isinstance(prompts, int) and isinstance(group, int):
        facts.append(("Each step", f"{prompts} prompts \u00d7 {group} completions"))
    if seconds := sum(part.total for part in time_split(run)):
        facts.append(("Time in steps", _duration(seconds)))
    if (speed := curve(run.metrics, Metric.TOKENS_PER_SECOND)) is not None:
        facts.append(("Throughput", f"{compact(sum(speed.values) / len(speed.values))} tokens/s"))
    for when, control in run.control.items():
        rewards = f"{control['image']:.2f}, with a blank one {control['blank']:.2f}"
        facts.append((f"Greedy reward {when} training with the image", rewards))
    return facts


def _short_path(path: object) -> str:
    """The last two parts: the last alone is often ``run`` or ``model``."""
    return "/".join(part for part in Path(str(path)).parts[-2:] if part != os.sep)


def _reward_charts(run: Run) -> list[tuple[str, LineChart]]:
    points = curve(run.metrics, Metric.REWARD_MEAN)
    if points is None:
        return []
    estimates = sampled_estimates(run)
    label = "Mean training reward over steps"
    return [
        (kind, line_chart(points, size=size, label=label, estimates=estimates, ticks=5))
        for kind, size in (("wide", WIDE), ("narrow", NARROW))
    ]


def _greedy_panels(run: Run) -> list[Panel]:
    """The held-out greedy reward over the steps, by task."""
    panels = []
    for task, estimates in greedy_curves(run).items():
        points = Curve([e.step for e in estimates], [e.mean for e in estimates])
        label = f"{title(task)}: greedy reward on held-out prompts over steps"
        chart = line_chart(points, size=SMALL, label=label, estimates=estimates, smoothed=False)
        panels.append(Panel(title(task), "greedy, held-out", chart, compact(estimates[-1].mean)))
    return panels


def _panels(run: Run, prefix: str, domain: tuple[float, float]) -> list[Panel]:
    found = {key.removeprefix(prefix) for row in run.metrics for key in row if key.startswith(prefix)}
    names = sorted(found, key=task_order)
    panels = []
    for name in names:
        points = curve(run.metrics, prefix + name)
        if points is not None:
            panels.append(
                _panel(points, title(name) if prefix == Metric.REWARD_OF_TASK else name, "", domain)
            )
    return panels


def _panel(points: Curve, heading: str, unit: str, domain: tuple[float, float] | None = None) -> Panel:
    chart = line_chart(points, size=SMALL, label=f"{heading} over steps", domain=domain)
    return Panel(heading, unit, chart, compact(_tail_mean(points.values)))


def _health(run: Run, key: str, heading: str, unit: str) -> Panel | None:
    points = curve(run.metrics, key)
    return None if points is None or _is_zero(points) else _panel(points, heading, unit)


def _is_zero(points: Curve | None) -> bool:
    """Whether all values are zero up to rounding, as the loss of on-policy steps is: the advantages of a
    group add up to 0.
    """
    return points is not None and max(map(abs, points.values)) < 1e-6


def _shares(run: Run, third: int) -> dict[str, float]:
    """Each column's share of the total reward in the last third of the steps."""
    prefix = Metric.COLUMN_SHARE
    late = run.metrics[-third:]
    names = {key.removeprefix(prefix) for row in late for key in row if key.startswith(prefix)}
    found = {name: curve(late, prefix + name) for name in names}
    return {name: sum(points.values) / len(points.values) for name, points in found.items() if points}


def _albums(run: Run) -> list[Album]:
    """Cards of the first and of the last saved step: the difference is what was learned."""
    count = len(run.completion_files)
    first, last = range((count + 1) // 2), range(count - 1, count // 2 - 1, -1)
    albums = [_album(run, indices) for indices in (first, last if count > 1 else ())]
    return [album for album in albums if album is not None]


def _album(run: Run, indices: Sequence[int]) -> Album | None:
    """Cards of the first file of ``indices``. A task it lacks comes from the nearest file that has it."""
    cards: dict[str, list[Card]] = {}
    step = None
    for index in indices[:NEAR_FILES]:
        rows = run.completions(index)
        if rows and step is None:
            step = int(rows[0][Column.STEP])
        for card in rollout_cards(run, [row for row in rows if str(row[Column.TASK]) not in cards]):
            cards.setdefault(card.task, []).append(card)
    if step is None:
        return None
    return Album(step, [card for task in sorted(cards, key=task_order) for card in cards[task]])


def _tail_mean(values: Sequence[float]) -> float:
    tail = values[-max(1, len(values) // 10) :]
    return sum(tail) / len(tail)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
