"""Disks that are full or cannot be written: one line, and what was saved before goes on."""

import errno
import math
import os
import resource
from pathlib import Path

import pytest
from small_runs import assert_same_result, epoch_rows, files

import mde_fast.files.folder
import mde_fast.runs.life
from mde_fast.runs.run import RunFolder


@pytest.fixture
def file_limit():
    """file_limit(n): no file can grow beyond n bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def file_limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield file_limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def full_after(monkeypatch):
    """full_after(n): the disk is full once n files of tensors are saved."""
    save = mde_fast.files.folder.save_file

    def full_after(number: float) -> None:
        saved = []

        def save_file(tensors, path, metadata):
            if len(saved) == number:
                no_space(path)
            saved.append(path)
            save(tensors, path, metadata)

        monkeypatch.setattr(mde_fast.files.folder, "save_file", save_file)

    return full_after


def no_space(path: Path) -> None:
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_below_a_file(shop, training, refused, tmp_path):
    (tmp_path / "file").write_text("in the way")
    outcome = training("--output", tmp_path / "file" / "run")
    refused(outcome, f"{tmp_path}/file/run: cannot be made, {tmp_path}/file is no folder")


def test_a_file_in_the_place_of_the_folder(shop, training, refused, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(training("--output", tmp_path / "file"), f"{tmp_path}/file: cannot be made, {tmp_path}/file is no folder")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_disk_that_is_full_from_the_start(shop, training, refused, full_after, finished):
    full_after(0)
    refused(training("--output", "run"), "run: cannot write catalogue.safetensors (No space left on device)")
    assert files(Path("run")) == {"log.txt"}, "nothing that is half a run"
    full_after(math.inf)
    assert training("--output", "run").status == 0, "the folder is still free"
    assert_same_result(Path("run"), finished)


@pytest.mark.parametrize("saved", [2, 3, 5, 7])
def test_a_disk_that_fills_up(shop, training, command, refused, full_after, finished, saved):
    full_after(saved)
    outcome = training("--output", "run")
    refused(outcome, "run: cannot write checkpoints/", "No space left on device", "what was saved before is intact")
    assert not [name for name in files(Path("run")) if "tmp" in name]
    full_after(math.inf)
    assert command("train", "--resume", "run").status == 0
    assert_same_result(Path("run"), finished)


def test_a_real_write_that_fails_half_way(shop, training, command, refused, file_limit, finished):
    file_limit(20_000)  # the last checkpoint needs more
    outcome = training("--output", "run")
    file_limit(None)
    refused(outcome, "run: cannot write checkpoints/last-0001-000000.safetensors", "File too large")
    assert RunFolder("run").checkpoints.has("best") and not RunFolder("run").checkpoints.has("last")
    assert command("train", "--resume", "run").status == 0
    assert_same_result(Path("run"), finished)
    assert files(Path("run")) == files(finished)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_log_that_cannot_be_written_costs_the_log_only(shop, training, finished):
    Path("run").mkdir()
    Path("run/log.txt").symlink_to("/dev/full")
    outcome = training("--output", "run")
    assert (outcome.status, outcome.err) == (0, "")
    assert_same_result(Path("run"), finished)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_rows_that_cannot_be_written(shop, training, command, refused, finished):
    Path("run").mkdir()
    Path("run/metrics.jsonl").symlink_to("/dev/full")
    refused(training("--output", "run"), "run: cannot write metrics.jsonl (No space left on device)")
    assert command("train", "--resume", "run").status == 0
    assert_same_result(Path("run"), finished)


def test_a_picture_that_cannot_be_written(shop, training, command, refused, monkeypatch, finished):
    with monkeypatch.context() as full:
        full.setattr(mde_fast.runs.life, "plot_curves", lambda history, path, **labels: no_space(path))
        refused(training("--output", "run"), "run: cannot write curves.png (No space left on device)")
    assert len(epoch_rows(Path("run"))) == 6
    assert "tmp" not in " ".join(files(Path("run")))
    assert_same_result(Path("run"), finished)
    assert command("train", "--resume", "run").status == 0
    assert files(Path("run")) == files(finished)
