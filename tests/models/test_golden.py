"""Models against the numbers that MMRec's code gave: every comparison of the folder, every case of it."""

from __future__ import annotations

import importlib

import pytest
from mmrec_side import FOLDER

from mde_fast.nn import feature_rank
from mde_fast.nn.feature_rank import FeatureRank

COMPARISONS = {
    path.stem.removeprefix("make_"): importlib.import_module(path.stem).COMPARISON
    for path in sorted(FOLDER.glob("make_*.py"))
}


@pytest.mark.parametrize("rank", ("full", "exact"))
@pytest.mark.parametrize(
    "name, number", [(name, number) for name, one in COMPARISONS.items() for number in range(len(one.cases))]
)
def test_loss_gradients_and_scores_are_those_of_mmrec(name, number, rank, monkeypatch):
    """Also with factors of the features, though these have as many independent columns as columns."""
    monkeypatch.setattr(feature_rank, "PAYS", 100)
    COMPARISONS[name].check(number, FeatureRank(rank))
