"""Searches so small that one takes a moment, and what it means for two to have found the same."""

import json
from pathlib import Path

from small_runs import OPTIONS

SPACE = """
learning_rate: {low: 0.003, high: 0.05, log: true}
msa_weight: {low: 0.001, high: 1, log: true}
msa: [cosine, infonce]
"""
PRESET = "learning_rate: 0.01\nmsa_weight: 0.02\n"
EPOCHS = 3  # of a trial
FIXED = {**{name: value for name, value in OPTIONS.items() if name != "learning_rate"}, "epochs": EPOCHS}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in FIXED.items()]
LIGHTGCN_FLAGS = ["--model=lightgcn", *(flag for flag in FLAGS if "projection" not in flag)]
FOLDER = Path("search/shop")


def report_of(folder: Path | str = FOLDER) -> dict:
    return json.loads((Path(folder) / "trials.json").read_text())


def trials_of(report: dict) -> list[dict]:
    """The trials in the order in which they were begun, without their times and numbers."""
    rows = sorted(report["trials"], key=lambda row: row["trial"])
    return [{name: row[name] for name in ("state", "value", "best_epoch", "epochs", "parameters")} for row in rows]
