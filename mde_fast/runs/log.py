"""The log of a run: what the console shows, kept in the run folder as well."""

from __future__ import annotations

import logging
from contextlib import suppress
from logging.handlers import MemoryHandler

from ..errors import InputError
from ..files import Folder

logger = logging.getLogger("mde_fast")

BUFFERED_LINES = 100_000


class _LogFile(logging.FileHandler):
    """A log that cannot be written, as on a full disk, costs its lines and not the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class RunLog:
    """Collects what is logged from the first line on, and writes it to log.txt once there is a run folder."""

    def __init__(self):
        self.handler = MemoryHandler(BUFFERED_LINES, flushLevel=logging.CRITICAL + 1, flushOnClose=False)

    def write_to(self, run: Folder) -> None:
        """From now on, and for what was logged before, use this run's log.txt.

        Raises:
            InputError: it cannot be written.
        """
        try:
            file = _LogFile(run.path / "log.txt", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{run.path}: cannot write log.txt ({error.strerror})") from None
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self.handler.setTarget(file)
        self.handler.capacity = 1  # no more waiting

    def __enter__(self) -> RunLog:
        self.level = logger.level
        logger.setLevel(logging.INFO)  # the file has every line, whatever the console shows
        logger.addHandler(self.handler)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if error is not None:  # the console's last line, which is not logged
            self.handler.handle(logging.makeLogRecord({"msg": f"{kind.__name__}: {error}", "levelno": logging.ERROR}))
        logger.removeHandler(self.handler)
        logger.setLevel(self.level)
        file = self.handler.target
        if file is not None:
            self.handler.flush()
            file.close()
        self.handler.close()
