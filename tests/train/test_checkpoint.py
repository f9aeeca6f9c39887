"""A checkpoint is whole or absent, and damage is found before anything is parsed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

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


def test_every_damage_is_found_and_the_previous_one_serves(tmp_path):
    """Flipped bits, truncation, missing, added and swapped files, at random places."""
    save_checkpoint(tmp_path, 5, write("old"))
    save_checkpoint(tmp_path, 10, write("new"))
    victim = tmp_path / "step-000010"
    files = sorted(path for path in victim.rglob("*") if path.is_file())
    originals = {path: path.read_bytes() for path in files}
    rng = random.Random(0)
    for trial in range(200):
        damage(rng, victim, rng.choice(files), originals, trial)
        with pytest.raises(CheckpointError):
            verify_checkpoint(victim)
        if trial % 20 == 0:
            with pytest.warns(UserWarning, match="checkpoint skipped"):
                assert find_checkpoint(tmp_path) == tmp_path / "step-000005"
        (victim / "extra").unlink(missing_ok=True)
        for path, data in originals.items():
            path.write_bytes(data)
    verify_checkpoint(victim)


def damage(rng, victim, path, originals, trial):
    data = bytearray(originals[path])
    kind = trial % 5
    if kind == 0:
        place = rng.randrange(len(data))
        data[place] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        # A flip inside the manifest can leave it meaning the same (white space): make it bite.
        if path.name == "manifest.json":
            path.write_bytes(data[: len(data) // 2])
    elif kind == 1:
        path.write_bytes(data[: rng.randrange(len(data))])
    elif kind == 2:
        path.unlink()
    elif kind == 3:
        (victim / "extra").write_text("x")
    else:
        other = rng.choice([p for p in originals if p != path])
        path.write_bytes(originals[other])


def test_nothing_usable_is_an_error_and_nothing_at_all_is_none(tmp_path):
    assert find_checkpoint(tmp_path / "absent") is None
    assert find_checkpoint(tmp_path) is None
    final = save_checkpoint(tmp_path, 5, write("only"))
    (final / "weights.bin").write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match="no checkpoint can be used"):
        find_checkpoint(tmp_path)
