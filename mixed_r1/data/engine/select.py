"""Balance and split: which rows stay, and which split each goes to. Chance is a hash of (seed, id) only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

import numpy as np

from mixed_r1.data.engine.dedup import components
from mixed_r1.data.engine.near import hamming, hamming_bands, mix, runs
from mixed_r1.data.engine.table import Drops, FeatureTable
from mixed_r1.data.mixture import mixture_weights
from mixed_r1.data.recipe import Balance, Split

__all__ = ["assign_splits", "find_surplus", "quotas"]


def find_surplus(
    table: FeatureTable, alive: np.ndarray, spec: Balance, *, seed: int, known: Iterable[str]
) -> Drops:
    """Living rows beyond what ``spec`` keeps of their gold and of their group; those with the smallest hash
    of (seed, id) stay.

    ``known`` are names that ``spec`` may use although no row of theirs is left.
    """
    ranks = table.ranks(seed)
    common = _commoner_golds(table, alive, ranks) if spec.gold else Drops(np.zeros(0, dtype=np.int64), [], [])
    even = alive.copy()
    even[common.rows] = False
    over = _over_quota(table, even, spec, ranks, known)
    order = np.argsort(rows := np.concatenate([common.rows, over.rows]), kind="stable")
    reasons, details = [*common.reasons, *over.reasons], [*common.details, *over.details]
    return Drops(rows[order], [reasons[i] for i in order], [details[i] for i in order])


def _commoner_golds(table: FeatureTable, alive: np.ndarray, ranks: np.ndarray) -> Drops:
    """The rows to drop so that every gold of a choice is as frequent as its rarest one."""
    choices, choice = table.codes("choice")
    golds, gold = table.codes("gold")
    dropped, details = [np.zeros(0, dtype=np.int64)], []
    for code, name in enumerate(choices):
        rows = np.flatnonzero(alive & (choice == code))
        found, sizes = np.unique(gold[rows], return_counts=True)
        for number, size in zip(found.tolist(), sizes.tolist(), strict=True):
            members = rows[gold[rows] == number]
            surplus = members[np.argsort(ranks[members], kind="stable")][int(sizes.min()) :]
            dropped.append(surplus)
            source, kind, task, _ = json.loads(name)
            where = f"{source} {kind} {task}".replace("  ", " ")
            details += [f"{where}: {golds[number]} keeps {int(sizes.min())} of {size}"] * len(surplus)
    rows = np.concatenate(dropped)
    order = np.argsort(rows, kind="stable")
    return Drops(rows[order], ["commoner gold"] * len(rows), [details[i] for i in order])


def _over_quota(
    table: FeatureTable, alive: np.ndarray, spec: Balance, ranks: np.ndarray, known: Iterable[str]
) -> Drops:
    names, groups = table.codes(spec.by)
    members = {name: np.flatnonzero(alive & (groups == code)) for code, name in enumerate(names)}
    sizes = {name: len(members.get(name, ())) for name in sorted({*names, *known})}
    limits = quotas(sizes, spec)
    surplus = [rows[np.argsort(ranks[rows], kind="stable")][limits[name] :] for name, rows in members.items()]
    rows = np.sort(np.concatenate(surplus)) if surplus else np.zeros(0, dtype=np.int64)
    kept = [f"{spec.by} {name} keeps {limits[name]} of {sizes[name]}" for name in names]
    details = [kept[code] for code in groups[rows]]
    return Drops(rows, ["surplus"] * len(rows), details)


def quotas(sizes: Mapping[str, int], spec: Balance) -> dict[str, int]:
    """Rows to keep of each group: ``max_rows`` first, then ``total`` shared out by ``weights``.

    A group too small for its share gives the rest to the others, in proportion to their weights.
    """
    caps = dict(sizes)
    if spec.max_rows is not None:
        for name in caps:
            limit = spec.max_rows if isinstance(spec.max_rows, int) else spec.max_rows.get(name, caps[name])
            caps[name] = min(caps[name], limit)
    if spec.total is None or sum(caps.values()) == 0:
        return caps
    weights = mixture_weights(caps, spec.weights)
    result = dict.fromkeys(caps, 0)
    left = spec.total
    open_groups = [name for name in caps if weights[name] > 0 and caps[name] > 0]
    while left > 0 and open_groups:
        share = math.fsum(weights[name] for name in open_groups)
        full = [n for n in open_groups if caps[n] <= left * weights[n] / share]
        if not full:
            exact = {n: left * weights[n] / share for n in open_groups}
            result.update({n: int(exact[n]) for n in open_groups})
            rest = left - sum(int(v) for v in exact.values())
            for name in sorted(open_groups, key=lambda n: (int(exact[n]) - exact[n], n))[:rest]:
                result[name] += 1
            break
        for name in full:
            result[name] = caps[name]
            left -= caps[name]
            open_groups.remove(name)
    return result


def assign_splits(
    table: FeatureTable, alive: np.ndarray, spec: Split, seed: int
) -> tuple[list[str], np.ndarray]:
    """(names, an index into them per row; -1 for dropped rows).

    Raises:
        ValueError: ``spec.field`` names a metadata key that a row does not have.
    """
    if spec.field is not None:
        found, values = table.codes("split")
        missing = int((alive & (values < 0)).sum())
        if missing:
            raise ValueError(f"split.field must be a metadata key of every row, got none in {missing} rows")
        used = np.unique(values[alive])
        return [found[code] for code in used], np.where(alive, np.searchsorted(used, values), -1)
    names = ["train", *spec.shares]
    chance = _chance(table, alive, spec, seed)
    split = np.zeros(len(table), dtype=np.int64)
    low = 0.0
    for k, share in enumerate(spec.shares.values(), start=1):
        split[(chance >= low) & (chance < low + share)] = k
        low += share
    split[~alive] = -1
    return names, split


def _chance(table: FeatureTable, alive: np.ndarray, spec: Split, seed: int) -> np.ndarray:
    """A number in [0, 1) per row, the same for all rows that are tied together."""
    labels = _ties(table, alive, spec) if spec.shares else np.arange(len(table))
    ranks = table.ranks(seed)
    ranks[~alive] = np.iinfo(np.uint64).max
    smallest = np.full(int(labels.max()) + 1 if len(labels) else 0, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, labels, ranks)
    # The smallest hash of a large component is small. Hashed again, large components go to all splits alike.
    return mix(smallest, np.uint64(1))[labels] / 2.0**64


def _ties(table: FeatureTable, alive: np.ndarray, spec: Split) -> np.ndarray:
    """Component of each row: tied by an image, by a metadata group, and rows without image by their text."""
    images, groups = table.ragged("images"), table.ragged("groups")
    bare = np.flatnonzero((images.counts() == 0) & alive)
    parts = [
        (images.owners(), images.values),
        (groups.owners(), groups.values),
        (bare, table.numbers("text")[bare]),
    ]
    if spec.image_distance is not None:
        hashes = table.ragged("perceptual")
        parts.append((hashes.owners(), _near_labels(hashes.values, spec.image_distance)))
    edges = []
    nodes = len(table)
    for owners, values in parts:
        keep = alive[owners]
        unique, inverse = np.unique(values[keep], return_inverse=True)
        edges.append(np.stack([owners[keep], nodes + inverse], axis=1))
        nodes += len(unique)
    return components(nodes, np.concatenate(edges))[: len(table)]


def _near_labels(hashes: np.ndarray, distance: int) -> np.ndarray:
    """A label per hash, equal for those connected by steps of at most ``distance`` bits."""
    unique, inverse = np.unique(hashes, return_inverse=True)
    edges: list[np.ndarray] = []
    for key in hamming_bands(unique, distance):
        for group in runs(key, np.arange(len(unique))):
            for i, first in enumerate(group[:-1]):
                near = group[i + 1 :][hamming(unique[group[i + 1 :]], unique[first]) <= distance]
                edges.append(np.stack([np.full(len(near), first), near], axis=1))
    joined = np.concatenate(edges) if edges else np.zeros((0, 2), dtype=np.int64)
    return components(len(unique), joined)[inverse]
