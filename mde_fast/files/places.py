"""Paths as people write them, and the user's cache; also where the person has no home folder."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError


def user_path(text: str | os.PathLike, option: str = "") -> Path:
    """``text`` as a path, with the home folder in the place of a leading ``~`` or ``~name``.

    Args:
        text: as the user gave it.
        option: the option that it was given with, for the message.

    Raises:
        InputError: that home folder is not known.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        given = f" ({option})" if option else ""
        home = Path(text).parts[0]
        raise InputError(f"{text}: no home folder is known for {home}{given}; write the path in full") from None


def user_cache() -> Path | None:
    """``$XDG_CACHE_HOME/mde_fast``, usually ``~/.cache/mde_fast``; None where no home folder is known.

    It may not exist yet, or not be writable.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "mde_fast"
    try:
        return Path.home() / ".cache" / "mde_fast"
    except RuntimeError:
        return None
