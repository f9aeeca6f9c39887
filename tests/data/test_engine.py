import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest
import yaml

from mixed_r1.data import check_samples, load_samples
from mixed_r1.data.engine import build
from mixed_r1.data.engine import workdir as workdir_module
from mixed_r1.data.engine.workdir import BuildError
from mixed_r1.data.recipe import Recipe


def contents(out):
    """Published bytes: everything that is not hidden."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(out).parts)
    }


def rejects(out):
    return [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def recipe(local_sources):
    return Recipe.read(local_sources / "recipe.yaml")


@pytest.fixture(scope="module")
def built(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "set"
    return build(recipe, out)


def samples_of(out):
    return {split: load_samples(out / split) for split in ("train", "validation", "test")}


def test_every_row_is_kept_or_rejected_with_a_reason(built):
    samples = samples_of(built.out)
    assert {split: len(rows) for split, rows in samples.items()} == built.rows
    lost = rejects(built.out)
    reasons = Counter((line["origin"], line["stage"], line["reason"]) for line in lost)
    assert reasons[("rows", "source", "row")] == 1  # not JSON
    assert reasons[("rows", "normalise", "answer")] == 1  # perhaps
    assert reasons[("rows", "check", "image")] == 1  # absent.png
    assert reasons[("refs", "check", "answer")] == 2  # a box outside its image, two expressions
    assert reasons[("charts", "filter", "answer_length")] == 1
    assert reasons[("choice", "filter", "options")] == 1
    assert reasons[("captions", "dedup", "duplicate")] == 1
    assert reasons[("detection", "filter", "boxes")] == 1  # the room
    assert reasons[("rows", "balance", "surplus")] == 8
    read = 31 + 25 + 12 + 5 + 6 + 7
    detection = {line["id"] for line in lost if line["origin"] in ("detection", "counting")}
    kept = Counter(sample.source for rows in samples.values() for sample in rows)
    others = sum(kept.values()) - kept["detection"] - kept["counting"] + len(lost) - len(detection)
    assert others == read
    assert Counter(line["stage"] for line in lost) == Counter(
        {stage: sum(found.values()) for stage, found in built.dropped.items()}
    )


def test_rejects_name_where_the_row_was(built):
    lost = rejects(built.out)
    assert next(line for line in lost if line["reason"] == "row")["place"] == "rows.jsonl:31"
    image = next(line for line in lost if line["stage"] == "check" and line["reason"] == "image")
    assert image["place"] == "rows.jsonl:5" and "absent.png" in image["detail"]


def test_the_result_passes_the_checks_and_has_unique_ids(built):
    samples = samples_of(built.out)
    for split in samples:
        assert check_samples(built.out / split) == []
    ids = [sample.id for rows in samples.values() for sample in rows]
    assert len(set(ids)) == len(ids)
    box = next(s for rows in samples.values() for s in rows if s.id == "refs/0-0")
    assert box.answer == ((4.0, 4.0, 24.0, 14.0),) and box.image_size == (64, 48)
    extra = next(s for rows in samples.values() for s in rows if s.source == "sums")
    assert int(extra.answer) == 3 * extra.metadata["extra"]


def test_splits_share_no_image(built):
    samples = samples_of(built.out)
    images = {split: {image for sample in rows for image in sample.images} for split, rows in samples.items()}
    assert all(len(found) > 0 for found in images.values())
    assert not images["train"] & images["test"] | images["train"] & images["validation"]
    assert not images["test"] & images["validation"]


def test_shards_figures_and_manifest(built):
    files = contents(built.out)
    shards = [name for name in files if name.startswith("train-")]
    assert shards == [f"train-{i:05d}-of-{len(shards):05d}.parquet" for i in range(len(shards))]
    assert len(shards) == -(-built.rows["train"] // 40)
    figures = json.loads(files["stats.json"])
    assert figures["rows"] == sum(built.rows.values())
    assert figures["dropped"] == built.dropped
    assert sum(figures["rows by task"].values()) == figures["rows"]
    manifest = json.loads(files["manifest.json"])
    assert set(manifest["files"]) == set(files) - {"manifest.json"}
    assert str(built.out) not in files["recipe.yaml"].decode()


def test_two_builds_are_byte_identical(recipe, built, tmp_path):
    second = build(recipe, tmp_path / "again", workers=2)
    assert contents(second.out) == contents(built.out)


@pytest.mark.slow
def test_ray_builds_the_same_bytes(recipe, built, tmp_path):
    ray = pytest.importorskip("ray")
    try:
        second = build(recipe, tmp_path / "again", engine="ray", workers=2)
    finally:
        ray.shutdown()
    assert contents(second.out) == contents(built.out)


def test_partition_size_does_not_change_the_rows(recipe, built, tmp_path):
    other = build(recipe.model_copy(update={"rows_per_partition": 5}), tmp_path / "other")
    mine, theirs = contents(built.out), contents(other.out)
    shards = [name for name in mine if name.endswith(".parquet")]
    assert shards
    assert all(mine[name] == theirs[name] for name in shards)


def test_an_unchanged_recipe_does_nothing_and_a_changed_one_what_is_needed(recipe, tmp_path):
    out = tmp_path / "set"
    build(recipe, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert build(recipe, out).up_to_date
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "lock"]
    after = {path: path.stat().st_mtime_ns for path in files}
    assert all(before[path] == stamp for path, stamp in after.items())

    changed = recipe.model_copy(update={"seed": 4})
    result = build(changed, out)
    assert not result.up_to_date
    done = [path for path in before if {"rows", "dedup"} & set(path.parts)]
    assert done and all(path.stat().st_mtime_ns == before[path] for path in done)
    assert contents(out) == contents(build(changed, tmp_path / "fresh").out)

    fewer = changed.model_copy(update={"output": changed.output.model_copy(update={"rows_per_shard": 1000})})
    build(fewer, out)
    assert contents(out) == contents(build(fewer, tmp_path / "fewer").out), "stale shards are removed"


def test_jsonl_output(recipe, built, tmp_path):
    jsonl = recipe.model_copy(update={"output": recipe.output.model_copy(update={"format": "jsonl"})})
    result = build(jsonl, tmp_path / "set")
    assert result.rows == built.rows
    assert check_samples(result.out / "train") == []
    as_parquet = [(s.id, s.answer) for s in load_samples(built.out / "train")]
    assert [(s.id, s.answer) for s in load_samples(result.out / "train")] == as_parquet
    build(recipe, tmp_path / "set")
    assert contents(tmp_path / "set") == contents(built.out), "images of the former format are removed"


def kill_at(recipe, out, number):
    """Build in a child that is killed (SIGKILL) before its ``number``-th rename; True if it was killed."""
    child = os.fork()
    if child == 0:
        renames = [0]
        rename = os.replace

        def counting(source, target):
            renames[0] += 1
            if renames[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target)

        os.replace = counting
        try:
            build(recipe, out)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize(
    ("form", "step"),
    [
        ("parquet", 7),
        ("jsonl", 23),
        pytest.param("parquet", 1, marks=pytest.mark.slow),
        pytest.param("jsonl", 1, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_rename_it_resumes_to_the_same_bytes(recipe, tmp_path, form, step):
    output = recipe.output.model_copy(update={"format": form})
    small = recipe.model_copy(
        update={"sources": recipe.sources[1:6], "rows_per_partition": 16, "output": output}
    )
    expected = contents(build(small, tmp_path / "whole").out)
    number = 1
    while kill_at(small, tmp_path / f"killed{number}", number):
        resumed = build(small, tmp_path / f"killed{number}")
        assert contents(resumed.out) == expected, f"killed before rename {number}"
        number += step
    assert number > 40


def test_killed_at_random_times_it_resumes_to_the_same_bytes(recipe, tmp_path):
    chance = random.Random(0)
    small = recipe.model_copy(update={"sources": recipe.sources[1:6], "rows_per_partition": 16})
    began = time.monotonic()
    expected = contents(build(small, tmp_path / "whole").out)
    whole = time.monotonic() - began
    kills = 0
    for number in range(6):
        out = tmp_path / f"killed{number}"
        child = os.fork()
        if child == 0:
            try:
                build(small, out)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, 0.9 * whole))
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert contents(build(small, out).out) == expected
    assert kills > 2


SCRIPT = """
import sys
from mixed_r1.data.engine import build
from mixed_r1.data.recipe import Recipe
if __name__ == "__main__":
    build(Recipe.read(sys.argv[1]), sys.argv[2], workers=2)
"""


@pytest.mark.slow
def test_workers_end_with_a_build_that_is_killed(recipe, built, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    out = tmp_path / "set"
    command = [sys.executable, str(tmp_path / "script.py"), str(recipe.base / "recipe.yaml"), str(out)]
    for marks in (1, 9):
        process = subprocess.Popen(command)
        while len(list((out / ".work" / "rows").glob("*.json"))) < marks:
            assert process.poll() is None
            time.sleep(0.01)
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=5)
        assert not alive
    assert contents(build(recipe, out).out) == contents(built.out)


@pytest.mark.slow
def test_a_killed_worker_ends_the_build_with_the_reason(recipe, built, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    out = tmp_path / "set"
    command = [sys.executable, str(tmp_path / "script.py"), str(recipe.base / "recipe.yaml"), str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list((out / ".work" / "rows").glob("*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children()
    next(worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())).kill()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "BuildError: workers must not be killed" in error
    assert contents(build(recipe, out).out) == contents(built.out)


def test_killed_again_and_again_it_still_finishes(recipe, built, tmp_path):
    out = tmp_path / "set"
    kills = 0
    while kill_at(recipe, out, 7):
        kills += 1
    assert kills > 5
    assert contents(out) == contents(built.out)


def test_two_builds_of_one_folder_exclude_each_other(recipe, tmp_path):
    with workdir_module.locked(tmp_path / "set" / ".work"):
        script = (
            "import sys\nfrom mixed_r1.data.engine import build\nfrom mixed_r1.data.recipe import Recipe\n"
            "build(Recipe.read(sys.argv[1]), sys.argv[2])"
        )
        run = subprocess.run(
            [sys.executable, "-c", script, str(recipe.base / "recipe.yaml"), str(tmp_path / "set")],
            capture_output=True,
            text=True,
        )
    assert run.returncode == 1
    assert "BuildError: out must not be in use by another build" in run.stderr


def test_a_folder_with_other_files_is_left_alone(recipe, tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(BuildError, match="out must be empty or an earlier build"):
        build(recipe, tmp_path)


def test_user_sources_and_filters(tmp_path, monkeypatch):
    (tmp_path / "my_rows.py").write_text(
        "from mixed_r1.data.sources import ListSource\n"
        "from mixed_r1.data.filters import Filter\n"
        "class Squares(ListSource):\n"
        "    upto: int\n"
        "    def inputs(self):\n"
        "        return []\n"
        "    def records(self):\n"
        "        return range(self.upto)\n"
        "    def row(self, n):\n"
        "        return {'task': 'math', 'question': f'What is {n} squared?', 'answer': n * n}\n"
        "class Odd(Filter):\n"
        "    def reason(self, row):\n"
        "        return None if int(row.sample.answer) % 2 else 'even'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    recipe = Recipe.from_mapping(
        {
            "name": "squares",
            "sources": [{"name": "s", "kind": "my_rows:Squares", "options": {"upto": 9}, "limit": 8}],
            "filters": [{"name": "my_rows:Odd"}],
        }
    )
    result = build(recipe, tmp_path / "out", keep_work=False)
    assert [s.answer for s in load_samples(result.out / "train")] == ["1", "9", "25", "49"]
    assert result.dropped["filter"] == {"my_rows:Odd": 4}
    assert not (result.out / ".work").exists()


def test_a_relative_base_is_that_of_the_current_folder(local_sources, built, tmp_path, monkeypatch):
    monkeypatch.chdir(local_sources.parent)
    settings = yaml.safe_load((local_sources / "recipe.yaml").read_text())
    result = build(Recipe.from_mapping({**settings, "base": local_sources.name}), tmp_path / "out")
    assert contents(result.out) == contents(built.out)


def test_the_same_sources_elsewhere_give_the_same_bytes(local_sources, built, tmp_path):
    """Another folder, other times of the files."""
    shutil.copytree(local_sources, tmp_path / "copy", copy_function=shutil.copyfile)
    result = build(Recipe.read(tmp_path / "copy" / "recipe.yaml"), tmp_path / "out")
    assert contents(result.out) == contents(built.out)


def test_a_build_that_was_killed_while_publishing_is_not_taken_for_the_former_one(recipe, built, tmp_path):
    out = tmp_path / "set"
    build(recipe, out)
    other = recipe.model_copy(update={"seed": 4})
    number = 1
    while kill_at(other, out, number):
        assert contents(build(recipe, out).out) == contents(built.out), f"killed before rename {number}"
        number += 13
    assert number > 20


def test_no_row_left_is_an_error(local_sources, tmp_path):
    spec = yaml.safe_load((local_sources / "recipe.yaml").read_text())
    spec["filters"] = [
        {"name": "answer_length", "max_chars": 1, "min_chars": 1},
        {"name": "image_count", "min_images": 3},
    ]
    spec["base"] = str(local_sources)
    with pytest.raises(BuildError, match="recipe local must keep at least one row"):
        build(Recipe.from_mapping(spec), tmp_path / "out")
