"""Builds a curated set from a recipe: deterministic, resumable, every dropped row accounted for."""

from mixed_r1.data.engine.build import BuildResult, build

__all__ = ["BuildResult", "build"]
