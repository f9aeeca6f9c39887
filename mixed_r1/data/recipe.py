"""A recipe: what a curated set is made of, as YAML. It alone decides the bytes of the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from mixed_r1.config import Config
from mixed_r1.data.filters import Filter, open_filter
from mixed_r1.data.spec import Name, SourceSpec
from mixed_r1.opened import CLIP_BOXES
from mixed_r1.tasks import TaskName, load_tasks, task_of

__all__ = [
    "Balance",
    "Contamination",
    "Dedup",
    "Difficulty",
    "LocalModel",
    "Output",
    "Recipe",
    "Servers",
    "SourceSpec",
    "Split",
    "Window",
]

Share = Annotated[float, Field(ge=0, le=1)]
Similarity = Annotated[float, Field(gt=0, le=1)]
Distance = Annotated[int, Field(ge=0, le=16)]


class Dedup(Config):
    """A row is dropped when an earlier one has near-equal images of the same colours, a near-equal question
    with options and the same numbers, and an equal gold.

    ``image_distance``: bits of 64 by which perceptual hashes may differ; None compares the bytes.
    ``text_similarity``: Jaccard similarity of 5-character shingles, estimated by MinHash; 1 is equality.
    """

    image_distance: Distance | None = Field(None, examples=[4])
    """Bits of 64 by which perceptual hashes of images may differ; none: equal bytes only."""
    text_similarity: Similarity = 1.0
    """Jaccard similarity of 5-character shingles from which texts are alike; 1: equal."""


class Contamination(Config):
    """Rows that share an image with evaluation sets (files of samples) are dropped; of those without images
    the ones that share a question.

    Questions with fewer than ``min_words`` words, or with other numbers, are not compared: templates are no
    contamination.
    """

    against: tuple[str, ...] = Field(examples=["[bench/test.jsonl]"])
    """Files of samples that training rows must not share anything with."""
    image_distance: Distance | None = 4
    """Bits of 64 by which perceptual hashes of images may differ; none: equal bytes only."""
    text_similarity: Similarity | None = 0.8
    """Jaccard similarity from which questions are alike; none: they are not compared."""
    min_words: int = 8
    """Shorter questions are not compared."""


class Window(Config):
    """Rows are kept whose statistic over k sampled answers lies inside the bounds.

    ``pass_rate`` is the share of answers with a reward of at least ``Difficulty.passing``; ``mean`` and
    ``sum`` are those of the rewards. ``k`` answers, where they are not ``Difficulty.k``.
    """

    k: int | None = Field(default=None, ge=1, examples=[16])
    """Answers that are sampled; none: ``difficulty.k``."""
    of: Literal["pass_rate", "mean", "sum"] = "pass_rate"
    """The statistic: share of answers that pass, or mean or sum of their rewards."""
    gt: float | None = Field(None, examples=[0.0])
    """Kept above this."""
    ge: float | None = Field(None, examples=[0.125])
    """Kept at this and above."""
    lt: float | None = Field(None, examples=[1.0])
    """Kept below this."""
    le: float | None = Field(None, examples=[0.875])
    """Kept at this and below."""

    def holds(self, value: float) -> bool:
        return not (
            (self.gt is not None and not value > self.gt)
            or (self.ge is not None and not value >= self.ge)
            or (self.lt is not None and not value < self.lt)
            or (self.le is not None and not value <= self.le)
        )


class Servers(Config):
    """OpenAI-compatible servers that sample answers; a key is taken from OPENAI_API_KEY.

    ``smart_resize``: (multiple, least pixels, most pixels) by which a Qwen model sees images, for answers in
    the frame ``resized``: [28, 3136, 12845056] for Qwen2.5-VL.
    """

    urls: tuple[str, ...] = Field(min_length=1, examples=["[http://127.0.0.1:8000/v1]"])
    """OpenAI-compatible servers."""
    model: str = Field(examples=["Qwen2.5-VL-7B-Instruct"])
    """The name under which they serve the model."""
    smart_resize: tuple[int, int, int] | None = Field(None, examples=["[28, 3136, 12845056]"])
    """(multiple, least pixels, most pixels) by which a Qwen model sees images."""
    temperature: float = 1.0
    """Of sampling."""
    top_p: float = 1.0
    """Draw from the likeliest tokens of this probability."""
    max_tokens: int = 1024
    """Tokens of an answer at most."""
    system_prompt: str | None = Field(None, examples=["Think first, then answer."])
    """Text before every prompt."""
    concurrency: int = Field(default=8, ge=1)
    """Requests that are under way at a time."""
    timeout_s: float = 120.0
    """Seconds that a request may take."""
    retries: int = Field(default=5, ge=0)
    """How often a request is tried again."""


class LocalModel(Config):
    """A model directory (relative to the recipe) that this process samples answers from."""

    path: Path = Field(examples=["models/Qwen2.5-VL-3B-Instruct"])
    """Model directory, relative to the recipe."""
    temperature: float = Field(default=1.0, ge=0)
    """Of sampling; 0: greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the likeliest tokens of this probability."""
    max_tokens: int = Field(default=1024, ge=1)
    """Tokens of an answer at most."""
    system_prompt: str | None = Field(None, examples=["Think first, then answer."])
    """Text before every prompt."""
    min_pixels: int | None = Field(default=None, ge=1, examples=[3136])
    """Least pixels of an image as the model sees it; none: as the checkpoint says."""
    max_pixels: int | None = Field(default=None, ge=1, examples=[401408])
    """Most pixels of an image as the model sees it; none: as the checkpoint says."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights."""
    device: str = Field("auto", examples=["cuda:1"])
    """Where the model runs; auto: cuda where there is one."""
    max_rows: int = Field(default=256, ge=1)
    """Answers that are decoded together."""


class Difficulty(Config):
    """Sample ``k`` answers per row of the tasks in ``windows``, score them, keep those inside the window.

    Answers come from ``servers`` or from ``model``; ``reward`` holds fields of RewardConfig for their score.
    """

    k: int = Field(default=8, ge=1)
    """Answers that are sampled per row."""
    passing: float = 0.5
    """Reward from which an answer passes."""
    windows: dict[TaskName, Window] = Field(examples=["{chart: {ge: 0.125, le: 0.875}}"])
    """The window of each task; tasks without one are kept whole."""
    servers: Servers | None = Field(None, examples=["{urls: [http://127.0.0.1:8000/v1], model: policy}"])
    """Servers that sample the answers."""
    model: LocalModel | None = Field(None, examples=["{path: models/policy}"])
    """The model that samples them, in this process."""
    reward: dict[str, Any] = Field({}, examples=["{format: answer}"])
    """Fields of RewardConfig for their score."""
    seed: int = Field(default=0, ge=0)
    """Of sampling."""
    rows_per_batch: int = Field(default=64, ge=1)
    """Rows that are sampled together."""

    @model_validator(mode="after")
    def _check(self) -> Difficulty:
        if self.servers is not None and self.model is not None:
            raise ValueError("servers and model must not both be given, got both")
        return self

    def num_answers(self, task: str) -> int:
        """Answers to sample per row of ``task``; 0 where it has no window."""
        window = next((window for name, window in self.windows.items() if name == task), None)
        return 0 if window is None else window.k or self.k

    def sampled_by(self) -> dict[str, Any]:
        """What answers and their rewards depend on, beside the row: not where and how fast they are made."""
        engine = {"urls", "concurrency", "timeout_s", "retries", "device", "max_rows"}
        sampling = self.model_dump(mode="json", include={"servers", "model"})
        return {
            "reward": self.reward,
            "seed": self.seed,
            **{
                name: {key: value for key, value in settings.items() if key not in engine}
                for name, settings in sampling.items()
                if settings is not None
            },
        }


class Balance(Config):
    """How many rows are kept: at most ``max_rows`` per group, or ``total`` rows by ``weights``.

    A group is the row's source or task. Which rows of a group stay is decided by a hash of (seed, id).
    ``gold`` comes first: where golds are few (yes/no, multiple choice), rows of the commoner ones are dropped
    until all are as many, per source, ``metadata.kind`` and number of options. Otherwise one answer to
    everything earns more than a model that cannot see the task, and training finds it. ``balance: gold`` is
    short for that alone.
    """

    gold: bool = False
    """Drop rows of the commoner golds until all are as many."""

    by: Literal["source", "task"] = "source"
    """What a group is."""
    max_rows: int | dict[str, int] | None = Field(None, examples=[10000])
    """Most rows of a group, or of each that is named."""
    total: int | None = Field(default=None, ge=1, examples=[50000])
    """Rows that are kept, shared by ``weights``."""
    weights: Literal["equal", "proportional"] | dict[str, float] = "proportional"
    """Shares of the groups in ``total``."""


class Split(Config):
    """Shares of the splits beside "train"; rows that share an image, a question text or a group stay
    together.

    ``group`` names a metadata key (a text or a list of texts) that ties rows together; ``field`` names a
    metadata key that holds the split itself, in which case ``shares`` are not used.
    """

    shares: dict[Name, Share] = Field({}, examples=["{validation: 0.05, test: 0.1}"])
    """Share of the rows of each split beside train."""
    group: str | None = Field(None, examples=["scene"])
    """Metadata key whose equal values keep rows together."""
    field: str | None = Field(None, examples=["split"])
    """Metadata key that holds the split itself."""
    image_distance: Distance | None = Field(None, examples=[4])
    """Bits of 64 by which hashes of images may differ that stay together; none: equal bytes."""

    @model_validator(mode="after")
    def _check(self) -> Split:
        if sum(self.shares.values()) > 1 or "train" in self.shares:
            raise ValueError(f"shares must add up to at most 1 and leave train out, got {self.shares}")
        return self


class Output(Config):
    """``parquet``: shards with images embedded; ``jsonl``: one file per split and an images folder."""

    format: Literal["parquet", "jsonl"] = "parquet"
    """parquet: shards with their images; jsonl: a file per split and a folder of images."""
    rows_per_shard: int = Field(default=4096, ge=1)
    """Rows of a Parquet file."""


class Recipe(Config):
    """Sources -> normalise -> check -> filter -> dedup -> difficulty -> balance -> split -> write."""

    name: Name = Field(examples=["charts-and-boxes"])
    """Of the data set, on its card."""
    description: str = Field("", examples=["Charts with short answers."])
    """A sentence for the card."""
    seed: int = Field(default=0, ge=0)
    """Of every choice that the engine makes."""
    custom_tasks: tuple[str, ...] = Field((), examples=["[my_tasks:Counting]"])
    """Tasks of your own, package.module:ClassName."""
    sources: tuple[SourceSpec, ...] = Field(
        min_length=1, examples=["[{name: charts, kind: chartqa, path: charts}]"]
    )
    """What rows are read from."""
    max_pixels: int = 64 * 1024 * 1024
    """Rows with larger images are dropped."""
    clip_boxes: float = Field(default=CLIP_BOXES, ge=0)
    """Pixels by which boxes may leave their image."""
    filters: tuple[SerializeAsAny[Filter], ...] = Field(
        (), examples=["[{name: answer_length, max_chars: 10}]"]
    )
    """Rules that drop rows."""
    dedup: Dedup | None = Field(Dedup(), examples=["{image_distance: 4}"])
    """How rows are found to be the same; null: they are not looked for."""
    contamination: Contamination | None = Field(None, examples=["{against: [bench/test.jsonl]}"])
    """Evaluation sets that training rows must not touch."""
    difficulty: Difficulty | None = Field(
        None, examples=["{windows: {chart: {ge: 0.1}}, model: {path: policy}}"]
    )
    """Rows that are neither too easy nor too hard for a model."""
    balance: Balance | None = Field(None, examples=["gold"])
    """How many rows of each group are kept; gold: even golds."""
    split: Split = Field(Split(), examples=["{shares: {test: 0.1}}"])
    """Which rows are held out."""
    output: Output = Field(Output(), examples=["{format: jsonl}"])
    """What is written."""
    rows_per_partition: int = Field(default=1024, ge=1)
    """Rows that are worked on, and can be resumed, at a time."""
    base: Path = Field(Path(), examples=["recipes"])
    """Where relative paths start: the recipe's folder."""

    @field_validator("custom_tasks")
    @classmethod
    def _register(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        load_tasks(names)
        return names

    @field_validator("filters", mode="before")
    @classmethod
    def _open_filters(cls, value: Any) -> Any:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(open_filter(item) if isinstance(item, Mapping) else item for item in items)

    @field_validator("balance", mode="before")
    @classmethod
    def _balance_gold(cls, value: Any) -> Any:
        return {"gold": True} if value == "gold" else value

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, value: tuple[SourceSpec, ...]) -> tuple[SourceSpec, ...]:
        for spec in value:
            if spec.task is not None:
                task_of(spec.task)
        names = [spec.name for spec in value]
        if len(set(names)) < len(names):
            raise ValueError(f"sources must have different names, got {names}")
        return value

    @classmethod
    def read(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
        """Load a YAML recipe; its relative paths are those of its folder."""
        recipe = cls.load(path, overrides)
        return recipe.model_copy(update={"base": Path(path).resolve().parent})
