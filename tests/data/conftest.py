"""Small sources in the layouts that recipes read, written to a temporary folder."""

import base64
import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (64, 48), noise: int = 0) -> bytes:
    """A smooth random picture; equal seeds with another ``noise`` look the same and differ in bytes."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int64)
    pixels = pixels + np.random.default_rng(noise).integers(-3, 4, pixels.shape) * (noise > 0)
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def write_sources(root: Path) -> None:
    """Eight sources, seven layouts, some rows of each broken."""
    names = random.Random(0)
    for folder in ("rows", "coco", "ref/images", "chart/png", "captions/deep", "choice"):
        (root / folder).mkdir(parents=True)
    rows = []
    for i in range(30):
        (root / "rows" / f"{i}.png").write_bytes(picture(i))
        answer = "yes" if i % 2 else "no"
        rows.append({"id": i, "query": f" Is picture {i} bright? ", "label": [answer], "file": f"{i}.png"})
    rows[3]["label"] = ["perhaps"]
    rows[4]["file"] = "absent.png"
    with (root / "rows" / "rows.jsonl").open("w") as stream:
        for row in rows:
            row["images"] = [row.pop("file")]
            stream.write(json.dumps(row) + "\n")
        stream.write("{broken\n")

    questions = [f"What is {i} plus {2 * i}?" for i in range(25)]
    table = {"question": questions, "answer": [str(3 * i) for i in range(25)], "extra": list(range(25))}
    pq.write_table(pa.table(table), root / "sums.parquet", row_group_size=10)

    images, annotations = [], []
    for i in range(8):
        (root / "coco" / f"{i}.png").write_bytes(picture(100 + i))
        images.append({"id": i, "file_name": f"{i}.png"})
        for k in range(names.randint(1, 4)):
            box = [5 + 6 * k, 5 + 3 * k, 12 + k, 9 + k]
            annotations.append({"image_id": i, "category_id": 1 + k % 2, "bbox": box, "iscrowd": 0})
    annotations.append({"image_id": 0, "category_id": 2, "bbox": [0, 0, 64, 48], "iscrowd": 1})
    annotations.append({"image_id": 7, "category_id": 3, "bbox": [0, 0, 64, 48], "iscrowd": 0})
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "room"}]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (root / "coco" / "instances.json").write_text(text)

    entries = []
    for i in range(6):
        (root / "ref" / "images" / f"r{i}.png").write_bytes(picture(200 + i))
        sentences = [{"sent": f"the thing number {i}"}, {"sent": f"a part of picture {i}"}]
        entries.append({"file_name": f"r{i}.png", "bbox": [4, 4, 20, 10 + i], "sentences": sentences})
    entries[5]["bbox"] = [50, 4, 20, 10]  # leaves the image
    (root / "ref" / "refs.json").write_text(json.dumps(entries))

    charts = []
    for i in range(5):
        (root / "chart" / "png" / f"c{i}.png").write_bytes(picture(300 + i))
        charts.append({"imgname": f"c{i}.png", "query": f"What is bar {i}?", "label": str(10 * i + 5)})
    charts[1]["label"] = "a very long answer that no chart has"
    (root / "chart" / "train_human.json").write_text(json.dumps(charts))

    with (root / "choice" / "table.tsv").open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t")
        writer.writerow(["index", "question", "A", "B", "C", "answer", "image"])
        for i in range(6):
            image = base64.b64encode(picture(400 + i)).decode()
            writer.writerow(
                [i, f"Which colour is picture {i}?", "red", "green", "blue" if i else "red", "B", image]
            )

    for i in range(6):
        (root / "captions" / "deep" / f"p{i}.png").write_bytes(picture(500 + i))
        (root / "captions" / "deep" / f"p{i}.txt").write_text(f"A smooth picture with number {i}.\n")
    # The same picture and question as p0, other bytes: a near duplicate.
    (root / "captions" / "deep" / "p0b.png").write_bytes(picture(500, noise=1))
    (root / "captions" / "deep" / "p0b.txt").write_text("A smooth picture with number 0.\n")


RECIPE = """
name: local
description: Every local layout.
seed: 3
rows_per_partition: 8
sources:
  - name: rows
    kind: jsonl
    options: {path: rows/rows.jsonl}
    fields: {id: id, question: query, answer: label, images: images}
    convert: {answer: first}
    constants: {task: yes_no}
  - name: sums
    kind: parquet
    options: {path: sums.parquet}
    fields: {question: question, answer: answer, metadata.extra: extra}
    constants: {task: math}
  - {name: detection, kind: coco, options: {annotations: coco/instances.json, images: coco}}
  - {name: counting, kind: coco, options: {annotations: coco/instances.json, images: coco, mode: counting}}
  - {name: refs, kind: refcoco, options: {annotations: ref/refs.json, images: ref/images}}
  - {name: charts, kind: chartqa, options: {path: chart}}
  - {name: choice, kind: choice_csv, options: {path: choice/table.tsv}}
  - {name: captions, kind: captions, options: {path: captions}}
filters:
  - {name: answer_length, max_chars: 20, tasks: [math, chart]}
  - {name: boxes, max_share: 0.5}
  - {name: options}
dedup: {image_distance: 4, text_similarity: 0.9}
balance: {by: task, max_rows: {yes_no: 20}}
split: {shares: {validation: 0.2, test: 0.2}}
output: {rows_per_shard: 40}
"""


@pytest.fixture(scope="session")
def local_sources(tmp_path_factory):
    """A folder with sources and ``recipe.yaml``; read only."""
    root = tmp_path_factory.mktemp("sources")
    write_sources(root)
    (root / "recipe.yaml").write_text(RECIPE)
    return root


@pytest.fixture(scope="session")
def make_picture():
    """``picture`` for tests that write their own rows."""
    return picture
