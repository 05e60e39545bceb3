"""The benchmark of models measures each of them, and writes what MMRec's code reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from tiny import tiny_dataset

from mde_fast.data import load_dataset

ROOT = Path(__file__).parents[1]


def test_every_side_that_is_there_is_measured(tmp_path):
    lines = ["user,item", *(f"{user},{(user + place * place) % 40}" for user in range(60) for place in range(9))]
    (tmp_path / "shop.csv").write_text("\n".join(lines) + "\n")
    words = ["--dataset", tmp_path / "shop.csv", "--models", "lightgcn,bm3", "--steps", 3, "--evaluations", 2]
    command = [sys.executable, "-m", "bench.models", *map(str, words), "--threads", "1", "--output", "found.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "STAND-IN FEATURES" in ended.stdout and "| LightGCN | " in ended.stdout and "| BM3 | " in ended.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["data"] == "stand-in features" and [one["model"] for one in found["results"]] == ["lightgcn", "bm3"]
    for one in found["results"]:
        assert len(one["step"]["ours"]) == 3 and len(one["evaluate"]["ours"]) == 2 and one["memory"]["ours"] > 10
        assert min(one["step"]["ours"]) > 0 and "theirs" not in one["step"], "no checkout was named"


def test_a_dataset_in_mmrec_s_form_is_the_same_dataset(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from bench.models import mmrec_folder

    dataset = tiny_dataset(3, num_users=30, num_items=20)
    read = load_dataset(str(mmrec_folder(dataset, tmp_path)))
    for part in ("train", "valid", "test"):
        own, again = (getattr(one, part) for one in (dataset, read))
        assert set(zip(own.users, own.items)) == set(zip(again.users, again.items))
    assert all(np.array_equal(dataset.features[name], read.features[name]) for name in dataset.features)
