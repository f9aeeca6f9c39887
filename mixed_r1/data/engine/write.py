"""The result: shards of the kept rows per split, and what a reader needs beside them.

Rows are copied from the partitions as Arrow columns, without decoding anything; equal rows in equal order
give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixed_r1.data.engine.table import FeatureTable
from mixed_r1.data.engine.workdir import write_json
from mixed_r1.data.loaders import save_samples
from mixed_r1.data.parquet import ROW_GROUP, iter_rows, sample_schema, table_writer
from mixed_r1.data.recipe import Output
from mixed_r1.files import atomic_path
from mixed_r1.schema import Sample

__all__ = ["WriteJob", "plan_writes", "run_write"]


@dataclass(frozen=True)
class WriteJob:
    """One output file: (partition, rows of it) in order, and the statistics that some rows take along."""

    path: str
    mark: str  # holds the result; appears last
    parts: tuple[tuple[str, np.ndarray], ...]
    statistics: dict[tuple[str, int], dict[str, float]]


def plan_writes(
    table: FeatureTable,
    splits: tuple[list[str], np.ndarray],
    statistics: dict[int, dict[str, float]],
    folder: Path,
    output: Output,
) -> list[WriteJob]:
    """The output files: per split ``{split}-{i}-of-{n}.parquet``, or one ``{split}.jsonl``."""
    jobs = []
    for k, split in enumerate(splits[0]):
        rows = np.flatnonzero(splits[1] == k)
        if output.format == "jsonl":
            shards = [rows]
            names = [f"{split}.jsonl"]
        else:
            size = output.rows_per_shard
            shards = [rows[i : i + size] for i in range(0, len(rows), size)]
            names = [f"{split}-{i:05d}-of-{len(shards):05d}.parquet" for i in range(len(shards))]
        for name, shard in zip(names, shards, strict=True):
            parts, taken = _parts(table, shard, statistics)
            jobs.append(WriteJob(str(folder / "out" / name), str(folder / f"{name}.json"), parts, taken))
    return jobs


def _parts(
    table: FeatureTable, rows: np.ndarray, statistics: dict[int, dict[str, float]]
) -> tuple[tuple[tuple[str, np.ndarray], ...], dict[tuple[str, int], dict[str, float]]]:
    partition = np.searchsorted(table.starts, rows, side="right") - 1
    parts = []
    taken: dict[tuple[str, int], dict[str, float]] = {}
    for k in np.unique(partition):
        stem = str(table.stems[k])
        start = int(table.starts[k])
        local = rows[partition == k] - start
        parts.append((stem, local))
        if statistics:
            taken |= {
                (stem, row): statistics[start + row] for row in local.tolist() if start + row in statistics
            }
    return tuple(parts), taken


def run_write(job: WriteJob) -> dict[str, Any]:
    """Write one output file; returns its number of rows."""
    path = Path(job.path)
    count = 0
    if path.suffix == ".jsonl":
        count = save_samples(_samples(job), path)
    else:
        with atomic_path(path) as temporary, table_writer(temporary, sample_schema()) as writer:
            for group in _groups(job):
                writer.write_table(group, row_group_size=ROW_GROUP)
                count += group.num_rows
    write_json(Path(job.mark), {"rows": count})
    return {"rows": count}


def _groups(job: WriteJob) -> Iterator[pa.Table]:
    """Tables of exactly ROW_GROUP rows (the last one fewer): row groups do not depend on the partitions."""
    waiting: list[pa.Table] = []
    count = 0
    for table in _taken(job):
        waiting.append(table)
        count += table.num_rows
        while count >= ROW_GROUP:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, ROW_GROUP).combine_chunks()
            waiting = [joined.slice(ROW_GROUP)]
            count -= ROW_GROUP
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def _taken(job: WriteJob) -> Iterator[pa.Table]:
    for stem, wanted in job.parts:
        with pq.ParquetFile(f"{stem}.parquet") as source:
            first = 0
            for batch in source.iter_batches(batch_size=ROW_GROUP):
                here = wanted[(wanted >= first) & (wanted < first + batch.num_rows)]
                if len(here):
                    table = pa.Table.from_batches([batch]).take(pa.array(here - first))
                    yield _with_statistics(table, [job.statistics.get((stem, int(row))) for row in here])
                first += batch.num_rows


def _with_statistics(table: pa.Table, statistics: list[dict[str, float] | None]) -> pa.Table:
    """difficulty = 1 - mean reward, and the statistics as metadata.rollouts, for rows that have them."""
    if not any(statistics):
        return table
    difficulty, metadata = table.column("difficulty").to_pylist(), table.column("metadata").to_pylist()
    for i, measured in enumerate(statistics):
        if measured is not None:
            difficulty[i] = 1.0 - measured["mean"]
            metadata[i] = json.dumps(
                {**json.loads(metadata[i] or "{}"), "rollouts": measured}, ensure_ascii=False
            )
    for name, values in (("difficulty", difficulty), ("metadata", metadata)):
        index = table.schema.get_field_index(name)
        table = table.set_column(
            index, table.schema.field(name), pa.array(values, table.schema.field(name).type)
        )
    return table


def _samples(job: WriteJob) -> Iterator[Sample]:
    for stem, rows in job.parts:
        wanted = set(rows.tolist())
        for i, row in enumerate(iter_rows(Path(f"{stem}.parquet"))):
            if i not in wanted or not isinstance(row, dict):
                continue
            measured = job.statistics.get((stem, i))
            if measured is not None:
                row["difficulty"] = 1.0 - measured["mean"]
                row["metadata"] = {**row.get("metadata", {}), "rollouts": measured}
            yield Sample(**row)
