"""The command line as a person uses it: real files in, printed tables and exit codes out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from mixed_r1.cli import app
from mixed_r1.data import load_samples
from mixed_r1.data.mini import sft_target
from mixed_r1.rewards import MixedReward

COMMANDS = [
    ["demo"],
    ["train"],
    ["eval"],
    ["score"],
    ["serve"],
    ["report"],
    ["doctor"],
    ["data", "mini"],
    ["data", "check"],
    ["data", "build"],
    ["data", "mix"],
    ["data", "card"],
    ["data", "stats"],
]


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def error_of(*arguments: object) -> str:
    """The one line that a user's mistake prints."""
    result = run(*arguments, code=2)
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mini")
    assert "train" in run("data", "mini", "--out", path, "--size", 200).stdout
    return path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything, once, as small as it gets."""
    path = tmp_path_factory.mktemp("demo") / "d"
    result = run("demo", "--out", path, "--warmup-steps", 2, "--steps", 2, "--held-out", 60, "--processes", 1)
    assert f"report: {path / 'run' / 'report.html'}" in result.stderr
    greedy, sampled = (
        result.stderr.index(f"{mode} reward on held-out rows") for mode in ("greedy", "sampled")
    )
    assert greedy < sampled and "grounding" in result.stderr and "constant" in result.stderr
    return path


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_explains_and_gives_an_example(command: list[str]):
    text = " ".join(run(*command, "--help").stdout.split())
    assert f"Example: mixed-r1 {' '.join(command)}" in text
    assert len(text.split("Options")[0]) > 100


def test_help_imports_nothing_heavy():
    program = """
import sys
from mixed_r1.cli import app
try:
    app(["--help"])
except SystemExit:
    print(sorted({"torch", "transformers", "numpy", "pydantic", "yaml"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_and_no_command():
    from mixed_r1 import __version__

    assert run("--version").stdout.strip() == __version__
    assert "Usage" in run(code=2).output


def test_an_unknown_option_is_a_usage_error():
    assert "No such option" in run("report", "--nothing", code=2).output


def test_data_mini_writes_rows_that_check(mini: Path):
    assert run("data", "check", mini / "train.jsonl").stderr.strip() == "no problems"
    assert {sample.task for sample in load_samples(mini / "train.jsonl")} >= {
        "grounding",
        "chart",
        "open_ended",
    }


def test_data_mini_refuses_a_size_it_cannot_draw(tmp_path: Path):
    assert (
        "multiple of 3, at least 12, got 50"
        in run("data", "mini", "--out", tmp_path, "--image-size", 50, code=2).output
    )


def test_data_check_lists_file_line_field_and_rule(tmp_path: Path):
    good = {"id": "a", "task": "yes_no", "question": "?", "answer": "yes"}
    rows = [good, {**good, "id": "b", "answer": "maybe"}, {**good, "id": "c", "images": ["gone.png"]}, good]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    result = run("data", "check", path, code=1)
    lines = result.stdout.splitlines()
    assert [line.removeprefix(f"{path}:").split(": ")[:2] for line in lines] == [
        ["2", "answer"],
        ["3", "images.0"],
        ["4", "id"],
    ]
    assert result.stderr.strip() == "3 problems"
    shortened = run("data", "check", path, "--limit", 1, code=1).stdout.splitlines()
    assert shortened == [lines[0], "and 2 more"]


def scorable(mini: Path, count: int = 12) -> list[tuple[object, str]]:
    """Rows that need no embeddings, alternately answered right and not at all."""
    rows = [sample for sample in load_samples(mini / "train.jsonl") if sample.task != "open_ended"][:count]
    return [(sample, sft_target(sample) if i % 2 else "nothing") for i, sample in enumerate(rows)]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_score_writes_what_mixed_reward_says(mini: Path, tmp_path: Path, suffix: str):
    pairs = scorable(mini)
    rows = [{"id": sample.id, "completion": text} for sample, text in pairs]
    out = tmp_path / f"scored{suffix}"
    result = run(
        "score", write_rows(tmp_path / "c.jsonl", rows), "--data", mini / "train.jsonl", "--out", out
    )
    assert "NO_ANSWER_TAG" in result.stdout and "reward by task" in result.stdout
    written = (
        pq.read_table(out).to_pylist()
        if suffix == ".parquet"
        else [json.loads(line) for line in out.read_text().splitlines()]
    )
    batch = MixedReward()([text for _, text in pairs], [sample for sample, _ in pairs])
    assert [row["total"] for row in written] == batch.total.tolist()
    assert [row["sample_id"] for row in written] == [sample.id for sample, _ in pairs]
    assert {row["total"] for row in written} == {0.0, 1.0}
    assert written[0]["reason_format"] == "NO_ANSWER_TAG" and written[0]["reward_open_ended"] is None


def test_score_takes_rows_with_their_sample_fields_and_settings(tmp_path: Path):
    rows = [
        {"task": "chart", "answer": "100", "completion": "104"},
        {
            "task": "grounding",
            "answer": [10, 10, 20, 20],
            "image_size": [100, 200],
            "completion": "[100, 50, 200, 100]",
        },
    ]
    out = tmp_path / "out.jsonl"
    run("score", write_rows(tmp_path / "c.jsonl", rows), "format=none", "box_frame=norm1000", "--out", out)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["total"] for row in written] == [1.0, 1.0]
    assert written[0]["answer"] == "104"


def test_score_says_what_is_wrong_and_where(mini: Path, tmp_path: Path):
    row = {"task": "yes_no", "answer": "yes", "completion": "x"}
    path = tmp_path / "c.jsonl"
    for rows, message in (
        ([row, {"id": "no-such", "completion": "x"}], f"{path}:2: id: must come with --data"),
        ([row, {**row, "completion": 7}], f"{path}:2: completion: must be a text, got int"),
        ([row, {**row, "answer": "maybe"}], f"{path}:2: answer: must be 'yes' or 'no'"),
        ([], f"{path}: file: must hold at least one completion"),
    ):
        assert message in error_of("score", write_rows(path, rows))
    path.write_text('{"task":\n')
    assert f"{path}:1: row: must be one JSON object" in error_of("score", path)
    write_rows(path, [{"id": "no-such", "completion": "x"}])
    assert f"must be one of {mini / 'train.jsonl'}, got 'no-such'" in error_of(
        "score", path, "--data", mini / "train.jsonl"
    )


def test_score_needs_embeddings_for_open_ended_rows(demo: Path, tmp_path: Path):
    rows = [{"task": "open_ended", "answer": "a cat", "completion": "<think></think><answer>a cat</answer>"}]
    path = write_rows(tmp_path / "c.jsonl", rows)
    assert "--embeddings must name a model directory" in error_of("score", path)
    assert "with tokenizer.json" in error_of("score", path, "--embeddings", tmp_path)
    out = tmp_path / "out.jsonl"
    run("score", path, "--embeddings", demo / "model", "--out", out)
    assert json.loads(out.read_text())["total"] == pytest.approx(1.0)


def test_settings_are_checked(tmp_path: Path):
    path = write_rows(tmp_path / "c.jsonl", [{"task": "yes_no", "answer": "yes", "completion": "x"}])
    assert "did you mean box_frame?" in error_of("score", path, "box_fram=pixels")
    assert "of the form key=value" in error_of("score", path, "box_frame")
    assert "--out must end in .jsonl or .parquet" in error_of("score", path, "--out", tmp_path / "x.csv")
    assert "missing.yaml must be a readable YAML file" in error_of("train", tmp_path / "missing.yaml")
    (tmp_path / "grpo.yaml").write_text("stepz: 3\n")
    assert "did you mean steps?" in error_of("train", tmp_path / "grpo.yaml")
    recipe = Path(__file__).parents[2] / "recipes" / "embedded.yaml"
    assert "did you mean reward.box_frame?" in error_of("train", recipe, "reward.box_fram=pixels")
    assert "weights must name columns of" in error_of("train", recipe, "reward.weights.iuo=1")
    assert "reward_weights must name columns of" in error_of("train", recipe, "reward_weights={iuo: 1}")
    assert "freeze: Input should be a list" in error_of("train", recipe, "freeze=vision")
    assert "lr: Input should be a finite number" in error_of("train", recipe, "lr=.inf")
    assert "betas.1: Input should be less than 1" in error_of("train", recipe, "betas=[0.9, 1]")
    assert "c2.jsonl" in error_of("score", tmp_path / "c2.jsonl")


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Only errors of the user's making are shortened."""

    def broken(run: Path, out: Path | None) -> Path:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("mixed_r1.report.build_report", broken)
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 1 and isinstance(result.exception, ZeroDivisionError)


def test_report_of_a_real_run(demo: Path, tmp_path: Path):
    out = tmp_path / "page.html"
    assert run("report", demo / "run", "--out", out).stdout.strip() == str(out)
    page = out.read_text()
    for heading in ("Reward during training", "Where the time goes", "Why completions scored", "Rollouts"):
        assert heading in page
    assert "run must hold config.yaml" in error_of("report", tmp_path)


def test_eval_answers_held_out_rows(demo: Path, tmp_path: Path):
    out = tmp_path / "records.jsonl"
    model, rows = demo / "run" / "checkpoints" / "latest", demo / "data" / "test"
    settings = ["--config", demo / "run" / "config.yaml", "--out", out]
    result = run("eval", model, rows, "eval_samples=6", "max_new_tokens=4", *settings)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    overall = {record["mode"]: record for record in records if record["task"] == "all"}
    assert set(overall) == {"greedy", "sampled"} and all(record["n"] == 6 for record in overall.values())
    assert "greedy" in result.stderr and "all" in result.stderr


def test_answers_of_eval_and_completions_of_a_run_are_scored_again_to_the_same(demo: Path, tmp_path: Path):
    model, rows = demo / "run" / "checkpoints" / "latest", demo / "data" / "test"
    answers, settings = tmp_path / "answers.parquet", ["--config", demo / "run" / "config.yaml"]
    run("eval", model, rows, "eval_samples=6", "max_new_tokens=12", *settings, "--out", answers)
    files = [answers, *sorted((demo / "run" / "evaluations").iterdir())]
    files += sorted((demo / "run" / "completions").iterdir())
    for file in files:
        scored = tmp_path / "scored.parquet"
        run("score", file, "--embeddings", demo / "model", "--out", scored)
        before, after = (pq.read_table(path).to_pylist() for path in (file, scored))
        assert len(before) == len(after) > 0
        for row, again in zip(before, after, strict=True):
            for key in ("sample_id", "task", "completion", "total", *(k for k in row if k[:6] == "reason")):
                assert again[key] == pytest.approx(row[key]) if key == "total" else again[key] == row[key], (
                    key
                )
    assert "--out must end in .jsonl" in error_of("eval", model, rows, *settings, "--out", tmp_path / "x.csv")


def test_train_goes_on_where_it_was(demo: Path, tmp_path: Path):
    """A run is not overwritten; one more step of other settings needs a directory of its own."""
    config = demo / "run" / "config.yaml"
    assert "which holds a run" in error_of("train", config)
    result = run(
        "train", config, f"out={tmp_path / 'again'}", "steps=1", "prompts_per_step=2", "eval_samples=4"
    )
    assert (tmp_path / "again" / "report.html").is_file() and "report: " in result.stderr


WRONG_RUNS = {
    "learning_rate=1e-6": "learning_rate is lr",
    "temprature=1": "did you mean temperature?",
    "model=none": "model must be a directory with config.json, got none",
    "data=none.jsonl": "data must exist, got none.jsonl",
    "data=none-*.parquet": "data must match at least one file of rows, got none, got none-*.parquet",
    "validation=none": "validation must be a file of rows",
    "lr=-1": "lr: Input should be greater than 0, got -1",
}


def test_a_wrong_run_is_told_before_anything_heavy_is_imported(tmp_path: Path):
    """One process for all: what it has imported in the end, no wrong use needed."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "run.yaml").write_text(
        f"model: {tmp_path}\ndata: {tmp_path}/rows.jsonl\nout: {tmp_path}/run\n"
    )
    code = (
        "import json, sys; from typer.testing import CliRunner; from mixed_r1.cli import app\n"
        "run = CliRunner().invoke\n"
        "said = [run(app, ['train', sys.argv[1], wrong]).output for wrong in sys.argv[2:]]\n"
        "print(json.dumps([said, [m for m in ('torch', 'transformers') if m in sys.modules]]))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "run.yaml"), *WRONG_RUNS]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    said, heavy = json.loads(done.stdout)
    for text, (wrong, expected) in zip(said, WRONG_RUNS.items(), strict=True):
        assert expected in " ".join(text.split()), f"{wrong}: {text}"
    assert heavy == [] and not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_model_that_cannot_be_trained_is_named_before_a_run_begins(
    demo: Path, tmp_path: Path, options: tuple[str, ...]
):
    config, out = demo / "run" / "config.yaml", tmp_path / "run"
    here = ("train", config, f"out={out}", *options)
    message = error_of(*here, f"model={tmp_path / 'none'}")
    assert message.endswith(f"model must be a directory with config.json, got {tmp_path / 'none'}")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert "model must have a model_type of ['internvl'," in error_of(*here, f"model={tmp_path}")
    assert "model must be a directory" in error_of("eval", demo / "run", demo / "data" / "test")
    assert not out.exists()


def test_what_a_dry_run_finds(demo: Path, tmp_path: Path):
    here = ("train", demo / "run" / "config.yaml", f"out={tmp_path / 'run'}", "--dry-run")
    assert "none.jsonl" in error_of(*here, "validation=none.jsonl")
    assert "ranks must be in [1, prompts_per_step" in error_of(*here, "--ranks", 1000)
    assert " on 1 rank, at most" in run(*here).stdout


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_stopped_run_says_how_it_goes_on(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
):
    def stopped(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mixed_r1.train.train", stopped)
    result = run("train", demo / "run" / "config.yaml", f"out={tmp_path}", code=code)
    assert f"--resume goes on from the newest checkpoint in {tmp_path}" in result.stderr


def test_the_robust_preset_is_calibrated_in_training_and_evaluation(demo: Path, tmp_path: Path):
    """Both on the training rows: the same policy earns the same."""
    config, out = demo / "run" / "config.yaml", tmp_path / "robust"
    sizes = ["steps=1", "prompts_per_step=2", "eval_samples=24", "max_new_tokens=4"]
    run("train", config, f"out={out}", "reward.open_ended.preset=robust", *sizes)
    records = tmp_path / "records.jsonl"
    rows = demo / "data" / "test"
    model = out / "checkpoints" / "latest"
    run("eval", model, rows, "--config", out / "config.yaml", "--out", records)
    greedy = [row for row in map(json.loads, records.read_text().splitlines()) if row["mode"] == "greedy"]
    in_training = json.loads((out / "summary.json").read_text())["evaluation"]["greedy"]["after"]
    assert {row["task"]: row["mean"] for row in greedy} == pytest.approx(
        {row["task"]: row["mean"] for row in in_training}
    )


def test_doctor_names_what_is_here():
    text = run("doctor").stdout
    import numpy

    for name in ("native", "reference", "triton", "cuda", "gpu", numpy.__version__, "nvcc"):
        assert name in text
