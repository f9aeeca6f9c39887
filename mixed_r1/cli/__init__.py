"""The ``mixed-r1`` command."""

from mixed_r1.cli.app import app

__all__ = ["app"]
