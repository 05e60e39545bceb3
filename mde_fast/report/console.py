"""Lines and progress bars on terminals and in notebooks."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


class _ThroughBars(logging.Handler):
    """Prints above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


def through_bars() -> logging.Handler:
    """A handler that prints messages, warnings to stderr and others to stdout, and leaves progress bars whole."""
    handler = _ThroughBars()
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, whose output is no terminal and is looked at all the same."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def progress_bar(iterable: Iterable | None = None, *, shown: bool = True, **settings: Any) -> tqdm:
    """A bar on terminals and in notebooks, none where the output goes to a file or it is not to be ``shown``."""
    if not shown:
        return tqdm(iterable, disable=True, **settings)
    if not in_notebook():
        return tqdm(iterable, disable=None, **settings)
    if importlib.util.find_spec("ipywidgets") is None:
        return tqdm(iterable, disable=False, **settings)
    from tqdm.notebook import tqdm as widget

    return widget(iterable, **settings)
