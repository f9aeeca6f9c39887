"""A checkpoint is whole or absent, and damage is found before anything is parsed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from mixed_r1.models import tiny_adapter
from mixed_r1.train.checkpoint import CheckpointError, find_checkpoint, save_checkpoint, verify_checkpoint


def write(content: str):
    def writer(directory: Path) -> None:
        (directory / "weights.bin").write_bytes(content.encode() * 1000)
        (directory / "nested").mkdir()
        (directory / "nested" / "state.json").write_text(content)

    return writer


def test_latest_points_to_the_newest_and_two_stay(tmp_path):
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, write(f"step {step}"))
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-000010", "step-000015"]
    assert (tmp_path / "latest").resolve().name == "step-000015"
    assert find_checkpoint(tmp_path) == tmp_path / "step-000015"


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    save_checkpoint(tmp_path, 5, write("good"))

    def fails(directory: Path) -> None:
        (directory / "weights.bin").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 10, fails)
    assert find_checkpoint(tmp_path) == tmp_path / "step-000005"
    save_checkpoint(tmp_path, 10, write("again"))
    assert find_checkpoint(tmp_path) == tmp_path / "step-000010"
    assert not list(tmp_path.glob(".writing-*"))


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    """Two checkpoints of a real model."""
    root = tmp_path_factory.mktemp("two")
    for step in (5, 10):
        adapter = tiny_adapter("qwen2_5_vl", corpus=["some words to learn"], seed=step)
        save_checkpoint(root, step, adapter.save)
    return root


def flip(rng, path):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(rng, path):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def lengthen(rng, path):
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.choice([1, 8, 4096])))


def zero(rng, path):
    """As a file whose blocks never reached the disk."""
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    path.write_bytes(data)


def remove(rng, path):
    path.unlink()


def swap_with_neighbour(rng, path):
    other = rng.choice([p for p in path.parent.iterdir() if p != path and p.is_file()])
    data = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)


def take_from_another(rng, path):
    """The same file of another checkpoint: sound in itself."""
    path.write_bytes((path.parents[1] / "step-000005" / path.name).read_bytes())


def add(rng, path):
    (path.parent / f"model-{rng.randrange(9)}.safetensors").write_bytes(path.read_bytes())


def become_directory(rng, path):
    path.unlink()
    path.mkdir()


DAMAGES = [
    *(flip, flip, flip, truncate, lengthen, zero, remove),
    *(swap_with_neighbour, take_from_another, add, become_directory),
]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("number", [110, pytest.param(1_000, marks=pytest.mark.slow)])
def test_every_damage_is_found_and_the_previous_one_serves(two_models, tmp_path, number):
    """At random places of random files of a real model's checkpoint, the manifest among them. What is found
    is a wrong sum or list of files, so nothing but the manifest has been parsed."""
    rng, intact = random.Random(number), two_models / "step-000010"
    before = contents(intact)
    shutil.copytree(two_models / "step-000005", tmp_path / "step-000005")
    victim, unchanged = tmp_path / "step-000010", 0
    for trial in range(number):
        shutil.copytree(intact, victim)
        DAMAGES[trial % len(DAMAGES)](rng, rng.choice(sorted(victim.iterdir())))
        if contents(victim) == before:  # zeros where zeros were, a file that both checkpoints share
            verify_checkpoint(victim)
            unchanged += 1
        else:
            problem = "must (have the SHA-256 sum|hold the files|be a readable manifest|be as it was written)"
            with pytest.warns(UserWarning, match=f"checkpoint skipped: {victim}.* {problem}"):
                assert find_checkpoint(tmp_path) == tmp_path / "step-000005"
        shutil.rmtree(victim)
    print(f"{number - unchanged} damages found, {unchanged} changed nothing")
    assert unchanged < number / 8


def test_every_byte_of_a_manifest_counts(tmp_path):
    save_checkpoint(tmp_path, 5, write("x"))
    path = tmp_path / "step-000005" / "manifest.json"
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(CheckpointError, match="manifest"):
            verify_checkpoint(path.parent)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here whose reading fails")
def test_a_file_that_cannot_be_read_sends_a_run_back(tmp_path):
    for step in (5, 10):
        save_checkpoint(tmp_path, step, write(str(step)))
    weights = tmp_path / "step-000010" / "weights.bin"
    weights.unlink()
    weights.symlink_to("/proc/self/mem")  # whose first byte is an input/output error
    with pytest.warns(UserWarning, match="must be readable, got .*Errno 5"):
        assert find_checkpoint(tmp_path) == tmp_path / "step-000005"


def test_steps_left_behind_by_a_run_that_fell_back_go(tmp_path):
    """They must not take the places of the newest two."""
    for step in (5, 10, 1_000_000):
        save_checkpoint(tmp_path, step, write(str(step)), keep=3)
    assert find_checkpoint(tmp_path) == tmp_path / "step-1000000"
    for step in (10, 1_000_000):
        (tmp_path / f"step-{step:06d}" / "weights.bin").write_bytes(b"")
    with pytest.warns(UserWarning, match="checkpoint skipped"):
        assert find_checkpoint(tmp_path) == tmp_path / "step-000005"
    save_checkpoint(tmp_path, 6, write("6"))
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-000005", "step-000006"]


def test_nothing_usable_is_an_error_and_nothing_at_all_is_none(tmp_path):
    assert find_checkpoint(tmp_path / "absent") is None
    assert find_checkpoint(tmp_path) is None
    final = save_checkpoint(tmp_path, 5, write("only"))
    (final / "weights.bin").write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match="no checkpoint can be used"):
        find_checkpoint(tmp_path)
