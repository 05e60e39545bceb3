"""Runs stages within a time limit, remembers which are done, and calls a stage that was cut off by that name."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.stages import Stage, longest

PASSED, FAILED, CUT_OFF, NOT_RUN = "passed", "failed", "cut off", "not run"
FINISHED = (PASSED, FAILED)  # other stages are taken up again by the next call
GRACE = 10.0  # seconds to write results after the interrupt
LEAST = 5.0  # seconds for which nothing is begun


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: its verdict, the seconds it took, the last line of its log or why it did not run."""

    verdict: str
    seconds: float
    note: str


class Runner:
    """Stages of one state of the sources.

    Attributes:
        outcomes: stage -> how it ended, in this call or an earlier one.
    """

    def __init__(self, state: Path, sources: str, say: Callable[[str], None] = print):
        """``state``: the folder of outcomes, logs and results; those of other ``sources`` are forgotten."""
        self.state, self.sources, self.say = state, sources, say
        state.mkdir(parents=True, exist_ok=True)
        self.outcomes: dict[str, Outcome] = {}
        kept = state / "stages.json"
        if kept.exists():
            record = json.loads(kept.read_text(encoding="utf-8"))
            if record["sources"] == sources:
                self.outcomes = {name: Outcome(**outcome) for name, outcome in record["outcomes"].items()}
            else:
                say("the sources have changed since: every stage is run again")

    def finished(self, stage: Stage) -> bool:
        return stage.name in self.outcomes and self.outcomes[stage.name].verdict in FINISHED

    def log(self, stage: Stage) -> Path:
        return self.state / f"{stage.file_name}.log"

    def results(self, stage: Stage) -> Path:
        return self.state / f"{stage.file_name}.json"

    def run(self, groups: Iterable[tuple[Stage, ...]], seconds: float) -> None:
        """Every stage that is not finished, within ``seconds`` for all."""
        end = time.monotonic() + seconds
        for group in groups:
            for stage in group:
                if self.finished(stage):
                    self.say(f"{stage.name}: {self.outcomes[stage.name].verdict} before")
            waiting = tuple(stage for stage in group if not self.finished(stage))
            if not waiting:
                continue
            left = end - time.monotonic() - GRACE
            for stage in waiting:
                if stage.missing or left < LEAST:
                    self._close(stage, Outcome(NOT_RUN, 0.0, stage.missing or "the time was up"))
            self._run_side_by_side([stage for stage in waiting if not stage.missing and left >= LEAST], left)

    def _run_side_by_side(self, stages: list[Stage], left: float) -> None:
        running = {stage: _Process(stage, self.log(stage), self.results(stage), left) for stage in stages}
        try:
            while running:
                for stage, process in list(running.items()):
                    outcome = process.outcome()
                    if outcome is not None:
                        del running[stage]
                        self._close(stage, outcome)
                time.sleep(0.05)
        finally:  # Ctrl-C reaches this process alone
            for process in running.values():
                process.kill()

    def _close(self, stage: Stage, outcome: Outcome) -> None:
        self.outcomes[stage.name] = outcome
        self.say(f"{stage.name}: {outcome.verdict}, {outcome.seconds:.0f} s; {outcome.note}")
        record = {"sources": self.sources, "outcomes": {name: asdict(each) for name, each in self.outcomes.items()}}
        (self.state / "stages.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


class _Process:
    """A stage that runs, in a process group of its own, so that an interrupt reaches what it started."""

    def __init__(self, stage: Stage, log: Path, results: Path, left: float):
        self.began, self.path = time.monotonic(), log
        self.limit = min(stage.seconds, left)
        self.interrupted = self.killed = False
        results.unlink(missing_ok=True)
        self.log = log.open("w", encoding="utf-8")
        command = [str(results) if part == "{json}" else part for part in stage.command]
        self.log.write(f"$ {' '.join(command)}\n")
        self.log.flush()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dict(stage.environment)},
            start_new_session=True,
            preexec_fn=_heed_interrupts,
        )

    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs. Interrupts it when its time is up."""
        code, seconds = self.process.poll(), time.monotonic() - self.began
        if code is None:
            if seconds > self.limit and not self.interrupted:
                self.interrupted = True
                os.killpg(self.process.pid, signal.SIGINT)
            if seconds > self.limit + GRACE and not self.killed:
                self.kill()
            return None
        self.log.close()
        verdict = CUT_OFF if self.interrupted else PASSED if code == 0 else FAILED
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        note = lines[-1] if lines else ""
        return Outcome(verdict, seconds, note if code in (0, 1) or self.interrupted else f"exit code {code}; {note}")

    def kill(self) -> None:
        self.killed = True
        os.killpg(self.process.pid, signal.SIGKILL)


def _heed_interrupts() -> None:
    """What a shell starts in the background ignores SIGINT, and so would all that it starts: no stage would save."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def fingerprint(root: Path, folders: Iterable[str]) -> str:
    """Of all sources that a stage may run."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".py", ".cpp", ".h", ".sh", ".yaml") and path.is_file():
                digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def total(groups: Iterable[tuple[Stage, ...]]) -> int:
    """Seconds that all groups take at most."""
    return sum(longest(group) for group in groups)
