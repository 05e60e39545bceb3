"""One command at a time in a folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

try:
    import fcntl
except ImportError:  # Windows: there two commands in one folder are not kept apart
    fcntl = None

logger = logging.getLogger("mde_fast")


@contextmanager
def exclusive(folder: Path, advice: str) -> Iterator[int | None]:
    """Nobody else trains into this folder meanwhile; also not a process that a killed command left behind.

    The folder itself is locked, so no file stays behind, and the lock ends with the last process that holds it.

    Args:
        folder: it exists.
        advice: what to do when the folder is in use, for the message.

    Yields:
        The descriptor of the lock, for child processes to inherit; None where there are no such locks.

    Raises:
        InputError: somebody else is at work there.
    """
    if fcntl is None:
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another command trains into it; {advice}") from None
        except OSError as error:
            logger.info("%s: cannot be locked there (%s); start no second command on it", folder, error.strerror)
        yield descriptor
    finally:
        os.close(descriptor)
