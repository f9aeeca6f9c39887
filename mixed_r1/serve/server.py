"""Running the application in one or several worker processes."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from importlib.util import find_spec

from mixed_r1.config import ConfigError
from mixed_r1.rewards.load import load_reward
from mixed_r1.serve.settings import SETTINGS_VARIABLE, SUPERVISOR_VARIABLE, ServeSettings, read_token

__all__ = ["run_server"]


def run_server(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests under way and return.

    Worker processes map one embedding table: its pages are in memory once.

    Raises:
        ConfigError: settings, token, address or files that cannot be used, or extra [serve] is not installed.
        DataError: ``calibration`` holds a bad row.
    """
    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{missing[0]} must be installed to serve: pip install 'mixed-r1[serve]'")
    read_token(settings)
    _check_address(settings)
    load_reward(settings.reward, embeddings=settings.embeddings, calibration=settings.calibration).close()
    import uvicorn

    with tempfile.TemporaryDirectory(prefix="mixed-r1-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        os.environ[SETTINGS_VARIABLE] = settings.model_dump_json()
        os.environ[SUPERVISOR_VARIABLE] = str(os.getpid())
        # After a graceful end uvicorn raises the signal again, which would kill this process.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        uvicorn.run(
            "mixed_r1.serve.app:app_from_environment",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )


def _check_address(settings: ServeSettings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        address = f"{settings.host} port {settings.port}"
        raise ConfigError(f"host and port must be free to listen on, got {address} ({error})") from None
