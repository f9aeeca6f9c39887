"""The real material of the mini set, cut into pieces that no two splits share.

Handwritten digits (scikit-learn, 1,797 images of 8 x 8), photographs (scikit-learn and scikit-image; each
split crops its own vertical band of a photo), and tables (vega-datasets). Nothing is downloaded: all ships
inside PyPI packages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["BACKGROUNDS", "CATEGORIES", "SPLITS", "Material", "Table", "load_material"]

SPLITS = ("train", "validation", "test")
# Each photo's width is cut into bands: 60% train, 15% validation, 25% test.
_BANDS = {"train": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}
# Photos whose every region shows the same thing, so that a crop has one true name.
CATEGORIES = {
    "stars": "hubble_deep_field.jpg",
    "retina": "retina.jpg",
    "tissue": "ihc.png",
    "bricks": "brick.png",
    "grass": "grass.png",
    "stones": "gravel.png",
    "coins": "coins.png",
    "print": "page.png",
}
# Photos that serve as backgrounds only.
BACKGROUNDS = ("china.jpg", "flower.jpg", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png")


@dataclass(frozen=True)
class Table:
    """One real table of named values: ``origin`` tells which slice of which data set it is."""

    title: str
    origin: str
    values: dict[str, float]

    def bars(self) -> list[tuple[str, int]]:
        """(label, value rounded to tens) of the rows that a bar from 10 to 100 can show."""
        rounded = [(label, round(value / 10) * 10) for label, value in self.values.items()]
        return [(label, value) for label, value in rounded if 10 <= value <= 100]


@dataclass(frozen=True)
class Material:
    """What one split may draw from."""

    digits: dict[int, list[tuple[str, np.ndarray]]]  # label -> (origin, ink [8, 8] uint8, 255 = ink)
    photos: dict[str, Image.Image]  # file name -> this split's band, RGB
    bands: dict[str, str]  # file name -> origin
    tables: list[Table]


def load_material(seed: int) -> dict[str, Material]:
    """Split -> material; digit images and tables are dealt out by ``seed``, photos by their bands."""
    digits = _digits(seed)
    photos = _photos()
    tables = _tables(seed)
    return {
        split: Material(
            digits=digits[split],
            photos={name: _band(photo, split) for name, photo in photos.items()},
            bands={name: f"photo:{name}:{split}" for name in photos},
            tables=tables[split],
        )
        for split in SPLITS
    }


def _deal(items: list[Any], rng: np.random.Generator) -> dict[str, list[Any]]:
    """70% train, 10% validation, 20% test, at least one each."""
    order = rng.permutation(len(items))
    num_validation = max(1, len(items) // 10)
    num_test = max(1, len(items) // 5)
    parts = np.split(order, [num_validation, num_validation + num_test])
    return {
        split: [items[i] for i in part]
        for split, part in zip(("validation", "test", "train"), parts, strict=True)
    }


def _digits(seed: int) -> dict[str, dict[int, list[tuple[str, np.ndarray]]]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    ink = np.minimum(data.images * 16.0, 255.0).astype(np.uint8)
    rng = np.random.default_rng([seed, 0])
    result: dict[str, dict[int, list[tuple[str, np.ndarray]]]] = {split: {} for split in SPLITS}
    for label in range(10):
        numbered = [(f"digit:{i}", ink[i]) for i in np.flatnonzero(data.target == label)]
        for split, part in _deal(numbered, rng).items():
            result[split][label] = part
    return result


def _photos() -> dict[str, Image.Image]:
    import skimage
    import sklearn.datasets

    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.datasets.__file__).parent / "images")
    photos = {}
    for name in (*CATEGORIES.values(), *BACKGROUNDS):
        file = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if file is None:
            raise FileNotFoundError(
                f"{name} must ship with scikit-image or scikit-learn, got neither in {folders}"
            )
        with Image.open(file) as image:
            photos[name] = image.convert("RGB")
    return photos


def _band(photo: Image.Image, split: str) -> Image.Image:
    low, high = _BANDS[split]
    return photo.crop((round(low * photo.width), 0, round(high * photo.width), photo.height))


def _tables(seed: int) -> dict[str, list[Table]]:
    """Tables with three different bars, every data set dealt out by itself."""
    makers: tuple[Callable[[], list[Table]], ...] = (_barley, _cars, _stocks, _wheat, _weather)
    rng = np.random.default_rng([seed, 1])
    result: dict[str, list[Table]] = {split: [] for split in SPLITS}
    for make in makers:
        usable = [table for table in make() if len({value for _, value in table.bars()}) >= 3]
        for split, part in _deal(usable, rng).items():
            result[split].extend(part)
    return result


def _barley() -> list[Table]:
    from vega_datasets import local_data

    groups = local_data.barley().groupby(["year", "site"])
    return [
        Table("Barley yield", f"barley:{year}:{site}", dict(zip(part["variety"], part["yield"], strict=True)))
        for (year, site), part in groups
    ]


def _cars() -> list[Table]:
    from vega_datasets import local_data

    cars = local_data.cars()
    means = cars.groupby([cars["Year"].dt.year, "Origin"])["Miles_per_Gallon"].mean()
    return [
        Table("Car mileage", f"cars:{year}", {origin: float(v) for (_, origin), v in part.items()})
        for year, part in means.groupby(level=0)
    ]


def _stocks() -> list[Table]:
    from vega_datasets import local_data

    months = local_data.stocks().groupby("date")
    return [
        Table("Stock price", f"stocks:{date:%Y-%m}", dict(zip(part["symbol"], part["price"], strict=True)))
        for date, part in months
    ]


def _wheat() -> list[Table]:
    from vega_datasets import local_data

    rows = local_data.wheat()
    return [
        Table(
            "Wheat price",
            f"wheat:{rows['year'][i]}",
            {str(rows["year"][k]): float(rows["wheat"][k]) for k in range(i, min(i + 4, len(rows)))},
        )
        for i in range(0, len(rows), 4)
    ]


def _weather() -> list[Table]:
    from vega_datasets import local_data

    days = local_data.seattle_weather()
    months = days.groupby([days["date"].dt.year, days["date"].dt.month])["weather"]
    return [
        Table(
            "Seattle days",
            f"weather:{year}-{month:02d}",
            {str(k): 100 * float(v) for k, v in part.value_counts(normalize=True).sort_index().items()},
        )
        for (year, month), part in months
    ]
