"""Data: samples on disk, the embedded mini set, mixtures, and the engine that builds curated sets."""

from mixed_r1.data.loaders import (
    DataError,
    Loaded,
    check_samples,
    iter_samples,
    load_samples,
    read_samples,
    save_samples,
)

__all__ = [
    "DataError",
    "Loaded",
    "check_samples",
    "iter_samples",
    "load_samples",
    "read_samples",
    "save_samples",
]
