"""The pages that teach: their code runs, their commands exist, what they name is there."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from mixed_r1.cli import app
from mixed_r1.data import load_samples
from mixed_r1.data.mini import corpus, sft_target
from mixed_r1.demo.warmup import Example, warm_up
from mixed_r1.models import tiny_adapter
from mixed_r1.rewards import MixedReward
from mixed_r1_kernels import EmbeddingTable
from tests.test_architecture import LAYERS

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
TAUGHT = ("index.md", "architecture.md", "tutorial.md", "extending.md")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in ``language``, "" for those that name none."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    return [body for named, body in fences if named == language]


def test_the_readme_at_its_word() -> None:
    """Its code runs, its commands and links exist, and a person reads it in a few minutes."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110
    rewards, kernels = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(rewards, "README.md", "exec"), names)
    assert names["batch"].total.tolist() == [1.0]
    rng = np.random.default_rng(0)
    given = {
        "rewards": rng.random(16),
        "predicted": rng.random((3, 4)),
        "gold": rng.random((2, 4)),
        "table": EmbeddingTable(rng.standard_normal((9, 4)).astype(np.float32)),
        "completions": [[1, 2]],
        "references": [[2]],
    }
    exec(compile(kernels, "README.md", "exec"), given)
    commands = re.findall(r"^mixed-r1 (.*)$", text, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        words = [word for word in command.split("#")[0].split() if re.fullmatch(r"[a-z]+", word)]
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, command
        for file in re.findall(r"recipes/\S+", command):
            assert (ROOT / file).exists(), file
    for target in re.findall(r"\]\(([\w/.]+)", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("page", [*TAUGHT, "data.md", "rewards.md", "training.md", "kernels.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        assert not path or (ROOT / "docs" / path).exists(), target
        if anchor and (not path or path.endswith(".md")):
            titles = re.findall(r"^#+ (.*)$", PAGES[path or page], flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}
            assert anchor in slugs, target


def test_the_site_is_built_strictly_and_in_ci() -> None:
    """With --quiet, mkdocs does not count its warnings: a dead link would pass --strict."""
    makefile = (ROOT / "Makefile").read_text()
    (built,) = re.findall(r"mkdocs build.*", makefile)
    assert "--strict" in built and "--quiet" not in built
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        called = set(re.findall(r"run: make ([a-z-]+)", workflow.read_text()))
        assert called <= targets, workflow
    assert "run: make docs" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_the_map_has_every_page() -> None:
    linked = set(re.findall(r"\]\((\w+\.md)", PAGES["index.md"]))
    assert linked == PAGES.keys() - {"index.md", "api.md"}
    site = (ROOT / "mkdocs.yml").read_text()
    assert [page for page in PAGES if page not in site] == []


NAMED = r"`((?:csrc|kernels|mixed_r1|tests|benchmarks|examples|recipes|docs)/[\w/.-]*)`"


@pytest.mark.parametrize("page", sorted(PAGES.keys() - {"log.md"}))
def test_files_that_a_page_names_exist(page: str) -> None:
    """But for the log, which tells of files as they were."""
    named = {path for path in re.findall(NAMED, PAGES[page]) if "<" not in path}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_architecture_says_where_things_are() -> None:
    assert len(set(re.findall(NAMED, PAGES["architecture.md"]))) > 30


def test_the_floors_are_those_that_are_checked() -> None:
    (floors,) = (block for block in blocks("architecture.md", "") if block.startswith("cli "))
    drawn = [set(re.split(r"\s{4,}", line)[0].split()) for line in floors.splitlines()]
    checked = [layer for layer in LAYERS if layer != {"__main__"}]
    drawn.reverse()
    assert drawn[:2] == [{"csrc"}, {"mixed_r1_kernels"}]
    assert set().union(*drawn[2:]) == set().union(*checked)
    place = {part: i for i, layer in enumerate(checked) for part in layer}
    rows = [{place[part] for part in row} for row in drawn[2:]]
    assert all(max(below) <= min(above) for below, above in zip(rows, rows[1:], strict=False))


def test_the_pack_of_architecture() -> None:
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    output: list[str] = []
    for block in blocks("architecture.md", "pycon"):
        runner.run(
            parser.get_doctest(block, {}, "architecture.md", "docs/architecture.md", 0), out=output.append
        )
    result = runner.summarize(verbose=False)
    assert result.failed == 0, "".join(output)
    assert result.attempted >= 8


def test_the_loop_of_architecture_trains(tmp_path: Path) -> None:
    """Its gradient changes the weights, and no completion is worth more than 1."""
    rows = shapes(tmp_path, 8)
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus(rows), seed=0)
    warm_up(adapter, [Example(row, sft_target(row)) for row in rows], steps=20)
    (code,) = blocks("architecture.md", "python")
    assert len(code.split("def step")[1].splitlines()) <= 45
    names: dict[str, object] = {}
    exec(compile(code, "docs/architecture.md", "exec"), names)
    table = EmbeddingTable(adapter.model.get_input_embeddings().weight.detach().numpy().copy())
    reward = MixedReward(table, adapter.tokenizer)
    reward.speak(adapter.box_frame)
    optimizer = torch.optim.AdamW(adapter.model.parameters(), lr=1e-3)
    before = [parameter.detach().clone() for parameter in adapter.model.parameters()]
    means = [names["step"](adapter, reward, rows[:4], optimizer, number) for number in range(3)]
    assert all(0 <= mean <= 1 for mean in means)
    after = list(adapter.model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.isfinite(parameter).all() for parameter in after)


def shapes(folder: Path, count: int) -> list:
    """Rows of the tutorial's three kinds, and their pictures, in ``folder``/train.jsonl."""
    import json

    examples = [json.loads(line) for line in blocks("tutorial.md", "json")[0].splitlines()]
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    with (folder / "train.jsonl").open("w") as stream:
        for i in range(count):
            x, y = (int(v) for v in rng.integers(4, 24, 2))
            image = Image.new("RGB", (48, 48), "white")
            draw = ImageDraw.Draw(image)
            (draw.ellipse if i % 2 else draw.rectangle)((x, y, x + 20, y + 20), fill=(200, 30, 30))
            image.save(folder / "pictures" / f"{i}.png")
            answers = {
                "multiple_choice": "AB"[(i + 1) % 2],
                "grounding": [[x, y, x + 20, y + 20]],
                "yes_no": "yes",
            }
            row = {**examples[i % 3], "id": str(i), "images": [f"pictures/{i}.png"]}
            stream.write(json.dumps({**row, "answer": answers[row["task"]]}) + "\n")
    return load_samples(folder / "train.jsonl")


def test_the_tutorial_from_its_first_command_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the page in its order, on a tiny model; only sizes are smaller than on the page."""
    monkeypatch.chdir(tmp_path)
    shapes(Path("."), 12)
    Path("train.jsonl").rename("validation.jsonl")
    rows = shapes(Path("."), 30)
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus(rows), seed=0)
    warm_up(adapter, [Example(row, sft_target(row)) for row in rows], steps=30)
    adapter.save("model")
    (text,) = blocks("tutorial.md", "yaml")
    small = {"steps": 2, "prompts_per_step": 3, "completions_per_prompt": 4, "max_new_tokens": 16}
    Path("shapes.yaml").write_text(yaml.safe_dump({**yaml.safe_load(text), **small, "checkpoint_every": 1}))
    commands = [line for block in blocks("tutorial.md", "") for line in block.splitlines()]
    assert [shlex.split(line)[1] for line in commands] == ["data", "data", *["train"] * 3, "report", "eval"]
    for line in commands:
        arguments = shlex.split(line.replace("steps=300", "steps=2"))[1:]
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    page = Path("runs/shapes/report.html").read_text()
    assert "held-out prompts" in page and "Which shape is it?" in page
