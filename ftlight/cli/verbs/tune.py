"""``tune``: other settings of a config, each in a run of its own; the best one is kept."""

from __future__ import annotations

from ftlight.cli.command import Words
from ftlight.utils.errors import UserError


def run(words: Words) -> tuple[int, str]:
    """Tries settings, or goes on with that. Returns the status and what to print.

    Raises:
        UserError: Optuna is not installed, what is asked for is wrong, the config fails, or no
            trial ended in time.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError('tune needs Optuna: pip install "ftlight[tune]"') from error
    from ftlight.cli import tuning

    return tuning.run(words)
