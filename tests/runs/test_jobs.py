"""Commands side by side: what each is given, what is heard of it, and that none is left behind."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from mde_fast.files.lock import exclusive
from mde_fast.runs import jobs
from mde_fast.runs.jobs import Command, Ended, run_side_by_side, threads_each

# Stands for the interpreter of ``-m mde_fast.<module> <arguments>``: the first argument is a program.
INTERPRETER = """#!{python} -S
import os, signal, sys, time
from pathlib import Path

assert sys.argv[1] == "-m" and sys.argv[2].startswith("mde_fast.")
exec(sys.argv[3])
"""
# Saves at the first interruption, and does not end by itself.
SAVES = """
def save(number, frame):
    Path(f"saved-{os.getpid()}").write_text(str(number))
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
Path(f"begun-{os.getpid()}").touch()
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def programs(monkeypatch, tmp_path):
    """Commands are the programs that are their first arguments; asked after often."""
    interpreter = tmp_path / "python"
    interpreter.write_text(INTERPRETER.format(python=sys.executable))
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.02)


def run(programs: list[str], at_a_time: int = 2, **arguments) -> tuple[bool, dict[str, Ended]]:
    """Run programs called 0, 1, ...; whether they ran to their end, and how each of them ended."""
    ended: dict[str, Ended] = {}
    commands = [Command(str(number), "train", [program]) for number, program in enumerate(programs)]
    watch = {"on_poll": lambda names: None, **arguments}
    done = run_side_by_side(commands, at_a_time, on_end=lambda one: ended.update({one.name: one}), **watch)
    return done, ended


def wait_for(pattern: str, number: int) -> None:
    patience = time.monotonic() + 60
    while len(list(Path().glob(pattern))) < number:
        assert time.monotonic() < patience
        time.sleep(0.01)


def in_the_meantime(action) -> None:
    threading.Thread(target=action, daemon=True).start()


def numbers(pattern: str) -> list[int]:
    """The processes that left a file of this form behind."""
    return [int(path.name.partition("-")[2]) for path in Path().glob(pattern)]


def assert_gone(processes: list[int]) -> None:
    for number in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


def test_how_they_ended():
    programs = ["", "print('oh', file=sys.stderr); sys.exit('error: no memory')", "sys.exit(130)"]
    programs += ["os.kill(os.getpid(), signal.SIGTERM)", "os.kill(os.getpid(), signal.SIGKILL)"]
    done, ended = run(programs)
    assert done and len(ended) == 5
    assert [ended[str(number)].status for number in range(5)] == [0, 1, 130, -signal.SIGTERM, -signal.SIGKILL]
    failures = [ended[str(number)].failure for number in range(5)]
    assert failures == [None, "no memory", None, None, "ended with status -9"]
    assert not any(one.interrupted for one in ended.values())


def test_errors_are_kept_and_other_lines_lost():
    done, ended = run(["print('a result'); print('a warning\\n\\n', file=sys.stderr); sys.exit(2)"])
    assert done and ended["0"].last_line == ended["0"].failure == "a warning"


def test_lines_are_handed_on():
    program = "for i in range(3): print('line', i)\nprint(); sys.stderr.write('no end \\xe9')"
    lines = []
    run([program, "print('one')"], on_line=lambda name, line: lines.append((name, line)))
    assert [line for name, line in lines if name == "0"] == ["line 0", "line 1", "line 2", "no end \xe9"]
    assert [line for name, line in lines if name == "1"] == ["one"]


def test_a_line_is_handed_on_while_its_process_runs():
    lines = []

    def heard(name: str, line: str) -> None:
        lines.append(line)
        Path("heard").touch()

    program = "print('now')\nwhile not Path('heard').exists(): time.sleep(0.01)\nprint('then')"
    assert run([program], on_line=heard)[0] and lines == ["now", "then"]


def test_no_more_at_a_time_than_asked_for():
    asked, polled = [], []

    def commands():
        for number in range(5):
            asked.append(number)
            yield Command(str(number), "train", ["time.sleep(0.1)"])

    def on_poll(names: list[str]) -> None:
        polled.append(names)
        assert len(names) <= 2 and len(asked) <= max(map(int, names), default=4) + 1, "asked for before its time"

    assert run_side_by_side(commands(), 2, on_end=lambda ended: None, on_poll=on_poll)
    assert asked == list(range(5)) and ["0", "1"] in polled and polled[-1] == []


def test_threads_are_shared(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert [threads_each(number) for number in (1, 2, 4, 9)] == [5, 2, 1, 1]
    lines = []
    run(["print(os.environ['OMP_NUM_THREADS'])"], 2, on_line=lambda name, line: lines.append(line))
    assert lines == ["2"], "of two, though there is one"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_passed_on_once(number):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def interrupt() -> None:
        wait_for("begun-*", 2)
        os.kill(os.getpid(), number)

    in_the_meantime(interrupt)
    done, ended = run([SAVES, SAVES, "Path('never').touch()"])
    assert not done and sorted(ended) == ["0", "1"] and all(one.interrupted for one in ended.values())
    assert [one.status for one in ended.values()] == [130, 130] and len(numbers("saved-*")) == 2
    assert not Path("never").exists(), "nothing is begun after it"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_one_that_fails_does_not_stop_the_others():
    done, ended = run(["sys.exit(1)", "Path('a').touch()", "Path('b').touch()"], 1)
    assert done and len(ended) == 3 and Path("a").exists() and Path("b").exists()


@pytest.mark.parametrize("where", ["on_poll", "on_line"])
def test_after_an_error_none_is_left(where):
    def wrong(*arguments) -> None:
        if len(numbers("begun-*")) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run([SAVES.replace("time.sleep(60)", "while True: print('on'); time.sleep(0.05)")] * 2, 2, **{where: wrong})
    assert len(numbers("saved-*")) == 2
    assert_gone(numbers("begun-*"))


def test_the_lock_goes_with_the_processes(tmp_path):
    lines = []
    program = "os.fstat(int(sys.argv[4])); print('held')"
    with exclusive(tmp_path, "wait") as lock:
        command = Command("0", "train", [program, str(lock)])
        for held in (lock, None):
            run_side_by_side(
                *([command], 1),
                on_end=lambda ended: lines.append(ended.last_line),
                on_poll=lambda names: None,
                on_line=lambda name, line: None,
                lock=held,
            )
    assert lines[0] == "held" and "Bad file descriptor" in lines[1]
