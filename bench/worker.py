"""A model in a process of its own, which does a training step or an evaluation when it is told to.

Each side of a comparison is such a process, so that neither has the other's libraries, settings or memory.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Worker:
    """The parent's end: ``python -m MODULE SETTINGS``, one line of JSON each way for a request.

    Raises:
        RuntimeError: the process has ended; what it wrote to stderr has been shown.
    """

    def __init__(self, module: str, settings: dict[str, Any]):
        command = [sys.executable, "-m", module, json.dumps(settings)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )
        self.about: dict[str, Any] = self._read()

    def ask(self, request: str) -> Any:
        """Have a request done; what the model said to it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # _read says it
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.process.args[1:3])} ended with {self.process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(make: Callable[[dict[str, Any]], Any]) -> None:
    """The process's end: ``make(settings)`` gives a model with ``about``, and a method for each request."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints does not get between the answers
    model = make(json.loads(sys.argv[1]))
    print(json.dumps(model.about), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(getattr(model, line.strip())()), file=answers, flush=True)
