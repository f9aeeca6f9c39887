"""Objects of the user's own by name: ``package.module:object``, as settings name sources, filters, rewards,
tasks.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from mixed_r1.config import ConfigError

__all__ = ["load_object"]


def load_object(name: str, *, what: str, among: object = ()) -> Any:
    """The object that ``name`` says, ``package.module:object``. Importing its module runs that module's code.

    The module is looked up as Python does, and last in the working directory, so that commands find a file
    beside the settings too. ``what`` names the setting in errors, and ``among`` lists the short names that
    the setting knows, for the message alone.

    Raises:
        ConfigError: ``name`` has no colon, its module cannot be imported, or holds no such object.
    """
    module, colon, attribute = str(name).partition(":")
    known = ", ".join(map(str, among)) if isinstance(among, (tuple, list, dict)) else ""
    if not colon or not module or not attribute:
        rule = f"one of {known} or package.module:object" if known else "of the form package.module:object"
        raise ConfigError(f"{what} must be {rule}, got {name!r}")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{what} must name something that can be imported, got {name!r} ({error})"
        ) from None
    return found
