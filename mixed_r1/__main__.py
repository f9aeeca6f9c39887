"""``python -m mixed_r1``: the command ``mixed-r1``, for launchers that start modules."""

from mixed_r1.cli import app

if __name__ == "__main__":
    app()
