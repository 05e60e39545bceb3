"""Commands of this package side by side, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch

POLL_SECONDS = 0.5
# Done; interrupted; interrupted before it could notice.
NO_FAILURE = (0, 130, -signal.SIGTERM)


@dataclass(frozen=True)
class Command:
    """``python -m mde_fast.<module> <arguments>``; ``name`` is how its caller calls it."""

    name: str
    module: str
    arguments: Sequence[str]


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        name: of the command.
        status: its exit status, or minus the number of the signal that ended it.
        last_line: the last that it printed; empty if it printed nothing.
        interrupted: whether an interruption had been passed on to it.
    """

    name: str
    status: int
    last_line: str
    interrupted: bool

    @property
    def failure(self) -> str | None:
        """Why it failed, in a line; None if it finished or was interrupted."""
        if self.status in NO_FAILURE:
            return None
        return self.last_line.removeprefix("error: ") or f"ended with status {self.status}"


def threads_each(jobs: int) -> int:
    """CPU threads for each of so many processes: an equal share of those of this one, and at least one."""
    return max(1, torch.get_num_threads() // jobs)


def run_side_by_side(
    commands: Iterable[Command],
    jobs: int,
    *,
    on_end: Callable[[Ended], None],
    on_poll: Callable[[list[str]], None],
    on_line: Callable[[str, str], None] | None = None,
    lock: int | None = None,
) -> bool:
    """Run commands until all have ended or somebody interrupts this process, by Ctrl-C or SIGTERM.

    An interruption is passed on, once each time that it comes, and commands that were not begun are left alone. When
    this returns or raises, none of the processes is left.

    Args:
        commands: each is asked for when there is room for it.
        jobs: how many run at a time; the threads are shared among so many, also where there are fewer.
        on_end: called for each command that has ended.
        on_poll: called with the names of those that run, about twice a second.
        on_line: called with a command's name and a line that it printed. Without it, what commands print is lost but
            for the last line of their errors.
        lock: what :func:`mde_fast.files.lock.exclusive` gave; a process that outlives this one holds on to it.

    Returns:
        False if it was interrupted.
    """
    crew = _Crew(iter(commands), jobs, lock, on_line)
    with _on_signal(crew.interrupt):
        try:
            crew.fill()
            while crew.running:
                time.sleep(POLL_SECONDS)
                for ended in crew.collect():
                    on_end(ended)
                crew.fill()
                on_poll([process.name for process in crew.running])
        finally:  # after an error here: none works on without anybody to hear of it
            crew.stop()
    return not crew.interrupted


class _Crew:
    """The processes that run, and the commands that wait for room."""

    def __init__(
        self,
        waiting: Iterator[Command],
        jobs: int,
        lock: int | None,
        on_line: Callable[[str, str], None] | None,
    ):
        self.waiting, self.jobs, self.lock, self.on_line = waiting, jobs, lock, on_line
        self.threads = threads_each(jobs)
        self.running: list[_Process] = []
        self.interrupted = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handler of signals."""
        self.interrupted = True
        for process in self.running:
            process.interrupt()

    def fill(self) -> None:
        """Begin commands while there is room for them."""
        while len(self.running) < self.jobs and not self.interrupted:
            command = next(self.waiting, None)
            if command is None:
                return
            self.running.append(_Process(command, self.threads, self.lock, everything=self.on_line is not None))
            if self.interrupted:  # while it was started, so that it was not told
                self.running[-1].interrupt()

    def collect(self) -> list[Ended]:
        """Hand on what was printed; those that have ended, which are no longer running then."""
        ended = []
        for process in list(self.running):
            status = process.status()  # before its lines: of one that has ended, nothing is missed
            for line in process.new_lines():
                if self.on_line is not None:
                    self.on_line(process.name, line)
            if status is not None:
                self.running.remove(process)
                process.close()
                ended.append(Ended(process.name, status, process.last_line, self.interrupted))
        return ended

    def stop(self) -> None:
        """End those that still run; each saves what it has."""
        for process in self.running:
            process.interrupt()
        for process in self.running:
            process.close()


class _Process:
    """A command that runs.

    What it prints goes to a file without a name: unlike a pipe, that stays when this process is killed.
    """

    def __init__(self, command: Command, threads: int, lock: int | None, *, everything: bool):
        self.name, self.last_line = command.name, ""
        self._printed, self._read = tempfile.TemporaryFile(), 0
        share = {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"mde_fast.{command.module}", *command.arguments],
            env={**os.environ, **share},
            stdout=self._printed if everything else subprocess.DEVNULL,
            stderr=self._printed,
            start_new_session=True,  # Ctrl-C reaches it through interrupt() alone
            pass_fds=() if lock is None else (lock,),
        )

    def status(self) -> int | None:
        return self._process.poll()

    def interrupt(self) -> None:
        """By SIGTERM: a job in the background of a shell ignores Ctrl-C, and so does what it starts."""
        self._process.terminate()

    def new_lines(self) -> list[str]:
        """What was printed since the last call, without blank lines; the last line may be cut short."""
        descriptor = self._printed.fileno()
        # The process writes where this file stands, so that it is read without moving there.
        content = os.pread(descriptor, os.fstat(descriptor).st_size - self._read, self._read)
        if self.status() is None:
            content = content[: content.rfind(b"\n") + 1]  # the rest of a line is still to come
        self._read += len(content)
        lines = [line.rstrip() for line in content.decode("utf-8", errors="replace").splitlines() if line.strip()]
        if lines:
            self.last_line = lines[-1]
        return lines

    def close(self) -> None:
        """Wait for its end."""
        self._process.wait()
        self._printed.close()


@contextmanager
def _on_signal(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGINT and SIGTERM go to ``handler`` meanwhile."""
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
