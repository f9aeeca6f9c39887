"""Mixed-Reward over HTTP, for trainers on other machines. ``mixed-r1 serve`` runs it; needs extra [serve]."""

from mixed_r1.serve.server import run_server
from mixed_r1.serve.settings import ServeSettings

__all__ = ["ServeSettings", "run_server"]
