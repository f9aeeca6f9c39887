"""Settings of the reward server, and the token that its clients show."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from pydantic import Field

from mixed_r1.config import Config, ConfigError
from mixed_r1.rewards import RewardConfig

__all__ = [
    "SETTINGS_VARIABLE",
    "SUPERVISOR_VARIABLE",
    "TOKEN_VARIABLE",
    "ServeSettings",
    "is_loopback",
    "read_token",
]

TOKEN_VARIABLE = "MIXED_R1_SERVE_TOKEN"
SETTINGS_VARIABLE = "MIXED_R1_SERVE_SETTINGS"  # from the server to its workers, as JSON, without the token
SUPERVISOR_VARIABLE = "MIXED_R1_SERVE_SUPERVISOR"  # process id of the server


class ServeSettings(Config):
    """``embeddings`` and ``calibration`` are those of ``load_reward``. Limits are per worker process.

    ``max_body_bytes`` of a request, also of one sent in chunks; ``max_completions`` in it; ``max_pending``
    requests at once, above which the answer is 503; ``body_seconds`` for a request to arrive;
    ``shutdown_seconds`` for requests under way after SIGTERM.
    """

    reward: RewardConfig = RewardConfig()
    embeddings: str | None = None
    calibration: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    workers: int = Field(default=1, ge=1, le=256)
    token_file: str | None = None
    allow_anonymous: bool = False
    max_body_bytes: int = Field(default=32 << 20, ge=1)
    max_completions: int = Field(default=1 << 16, ge=1)
    max_pending: int = Field(default=256, ge=1)
    body_seconds: float = Field(default=60.0, gt=0.0)
    shutdown_seconds: int = Field(default=30, ge=1)


def read_token(settings: ServeSettings) -> str | None:
    """The token of ``token_file``, else of the environment variable MIXED_R1_SERVE_TOKEN, else None.

    Raises:
        ConfigError: the file cannot be read, the token is no printable ASCII without spaces, or there is none
            and ``host`` can be reached from other machines without ``allow_anonymous``.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if settings.token_file is not None:
        try:
            token = Path(settings.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = type(error).__name__
            raise ConfigError(f"token_file must be readable, got {settings.token_file} ({reason})") from None
    if token is not None:
        if not token or not all("!" <= character <= "~" for character in token):
            raise ConfigError("the token must be printable ASCII without spaces, got something else")
        return token
    if not is_loopback(settings.host) and not settings.allow_anonymous:
        raise ConfigError(
            f"a token must be set ({TOKEN_VARIABLE} or token_file) where host is not this machine alone, got "
            f"none for {settings.host}; allow_anonymous serves everybody"
        )
    return None


def is_loopback(host: str) -> bool:
    """Whether ``host`` is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
