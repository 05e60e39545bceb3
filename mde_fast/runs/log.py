"""The log of a run: what the console shows, kept in the run folder as well."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from contextvars import ContextVar
from logging.handlers import MemoryHandler

from ..errors import InputError
from ..files import Folder
from ..report.console import in_notebook, through_bars

logger = logging.getLogger("mde_fast")

BUFFERED_LINES = 100_000

_current: ContextVar[RunLog | None] = ContextVar("log of the run of this thread", default=None)


class _LogFile(logging.FileHandler):
    """A log that cannot be written, as on a full disk, costs its lines and not the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class RunLog:
    """Collects what is logged from the first line on, and writes it to log.txt once there is a run folder.

    Runs in several threads of a process have a log each, with their own lines.
    """

    def __init__(self):
        self.handler = MemoryHandler(BUFFERED_LINES, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        self.handler.addFilter(lambda record: _current.get() is self)

    def write_to(self, run: Folder) -> None:
        """From now on, and for what was logged before, use this run's log.txt, unless another process writes it.

        Raises:
            InputError: it cannot be written.
        """
        if not run.writes:
            self.handler.setTarget(logging.NullHandler())
            return
        try:
            file = _LogFile(run.path / "log.txt", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{run.path}: cannot write log.txt ({error.strerror})") from None
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self.handler.setTarget(file)
        self.handler.capacity = 1  # no more waiting

    def __enter__(self) -> RunLog:
        self.token = _current.set(self)
        _every_line.open()
        logger.addHandler(self.handler)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if error is not None:  # the console's last line, which is not logged
            self.handler.handle(logging.makeLogRecord({"msg": f"{kind.__name__}: {error}", "levelno": logging.ERROR}))
        logger.removeHandler(self.handler)
        _every_line.close()
        _current.reset(self.token)
        file = self.handler.target
        if file is not None:
            self.handler.flush()
            file.close()
        self.handler.close()


class _EveryLine:
    """While any run is open the logger lets lines of training pass, whatever the console shows; then as before.

    In a notebook where nobody has set up logging they are shown, too.
    """

    def __init__(self):
        self.lock, self.runs, self.shown = threading.Lock(), 0, None

    def open(self) -> None:
        with self.lock:
            self.runs += 1
            if self.runs > 1:
                return
            self.level = logger.level
            logger.setLevel(logging.INFO)
            if in_notebook() and not logger.hasHandlers():
                self.shown = through_bars()
                logger.addHandler(self.shown)

    def close(self) -> None:
        with self.lock:
            self.runs -= 1
            if self.runs:
                return
            logger.setLevel(self.level)
            if self.shown is not None:
                logger.removeHandler(self.shown)
                self.shown = None


_every_line = _EveryLine()
