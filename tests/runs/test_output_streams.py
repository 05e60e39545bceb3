"""Results go to stdout and nothing else does, whatever stdout is."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import LIGHTGCN_FLAGS


def recommend(run: Path, stdout) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "mde_fast.recommend", run, "--all-users", "--k", "30", "--format", "csv"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_full_disk_and_a_reader_who_leaves(finished):
    with open("/dev/full", "w") as full:
        on_full_disk, read_partly = recommend(finished, full), recommend(finished, subprocess.PIPE)
    assert read_partly.stdout.readline() == b"user,rank,item,score\n"
    read_partly.stdout.close()
    assert read_partly.stderr.read() == b"" and read_partly.wait() in (0, 1)
    _, err = on_full_disk.communicate()
    assert on_full_disk.returncode == 1
    assert err == b"error: cannot write the output ([Errno 28] No space left on device)\n"


def test_stdout_has_results_only(finished, command):
    """Whoever writes them to a file gets a file of that format."""
    assert command("recommend", finished, "--user", 1, "--k", 1, "--format", "csv").out.count("\n") == 2
    assert command("evaluate", finished, "--data-dir", finished.parent / "data", "--json").out.startswith("{\n")


@pytest.fixture
def bookshop(finished, tmp_path) -> Path:
    """A run whose users have names that few encodings can spell."""
    run = shutil.copytree(finished, tmp_path / "bookshop")
    catalogue = json.loads((run / "catalogue.json").read_text(encoding="utf-8"))
    catalogue["user_ids"] = [f"读者{number}" for number in range(len(catalogue["user_ids"]))]
    (run / "catalogue.json").write_text(json.dumps(catalogue, ensure_ascii=False), encoding="utf-8")
    return run


@pytest.mark.parametrize("encoding", ("cp1252", "ascii", "utf-8"))
@pytest.mark.parametrize("form", ("csv", "json", "text"))
def test_files_are_utf_8_whatever_the_terminal_is(bookshop, tmp_path, encoding, form):
    with open(tmp_path / "out", "wb") as file:
        command = [sys.executable, "-m", "mde_fast.recommend", bookshop, "--all-users", "--format", form]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": encoding}
        ended = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, env=environment)
    assert (ended.returncode, ended.stderr) == (0, b"")
    text = (tmp_path / "out").read_text(encoding="utf-8")
    assert "读者0" in text and "读者59" in text


def on_a_terminal(arguments, encoding: str) -> tuple[int, bytes]:
    """Exit status, and what a terminal of that encoding is sent."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": encoding}
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # the end of what a terminal says
        pass
    os.close(ours)
    return process.wait(), shown


def test_a_terminal_gets_what_it_can_show(bookshop):
    arguments = ["mde_fast.recommend", bookshop, "--user", "读者7", "--k", "3"]
    status, shown = on_a_terminal(arguments, "cp1252")
    assert status == 0 and shown.startswith(b"user ??7\r\n   1  ")
    status, shown = on_a_terminal(arguments, "utf-8")
    assert status == 0 and shown.startswith("user 读者7\r\n".encode())


def test_log_lines_with_any_text(shop, tmp_path):
    folder = shop.rename(shop.with_name("商店"))
    (folder / "shop.inter").rename(folder / "商店.inter")
    arguments = ["mde_fast.train", *LIGHTGCN_FLAGS, f"--dataset={folder}", "--epochs=1", "--output=run"]
    status, shown = on_a_terminal(arguments, "cp1252")
    assert status == 0 and b"?? (real): 60 users" in shown
    assert "商店 (real): 60 users" in Path("run/log.txt").read_text(encoding="utf-8")
