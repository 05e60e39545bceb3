"""Item neighbours against sorting every cosine."""

import numpy as np
import pytest

from mde_fast.graphs import neighbours
from mde_fast.graphs.neighbours import CANDIDATES, nearest_neighbours


@pytest.fixture
def proposed(monkeypatch):
    """Every search with more than CANDIDATES items goes through bfloat16 proposals, whatever the processor."""
    monkeypatch.setattr(neighbours, "SPARE_FLOPS", 0)
    monkeypatch.setattr(neighbours, "_bfloat16_is_faster", lambda width: True)


@pytest.fixture(params=("direct", "proposed"))
def search(request):
    """Either way of searching."""
    if request.param == "proposed":
        request.getfixturevalue("proposed")
    return request.param


def _cosines(features: np.ndarray) -> np.ndarray:
    """(I, I) float64; 0 with an item whose features are all zero."""
    features = features.astype(np.float64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(norms > 0, norms, 1)
    return unit @ unit.T


def _by_sorting(features: np.ndarray, k: int) -> np.ndarray:
    cosines = _cosines(features)
    rows = []
    for item in range(len(features)):
        key = [(other != item, -cosines[item, other], other) for other in range(len(features))]
        nearest = [other for *_, other in sorted(key)][:k]
        rows.append(nearest if features[item].any() else [item] * len(nearest))
    return np.array(rows)


def _signs(rng, num_items: int, width: int) -> np.ndarray:
    """Features of +1 and -1: with a width of 4**n every cosine is exact, in bfloat16 too, and most are tied."""
    return rng.choice([-1.0, 1.0], size=(num_items, width)).astype(np.float32)


def _check_nearly(features: np.ndarray, k: int) -> None:
    """Itself first, no item twice, falling cosines, and none left out that is nearer by more than rounding."""
    found, cosines = nearest_neighbours(features, k), _cosines(features)
    best = -np.sort(-cosines, axis=1)
    for item, row in enumerate(found.tolist()):
        assert row[0] == item and len(set(row)) == k
        assert cosines[item, row] == pytest.approx(best[item, :k], abs=5e-7)


@pytest.mark.parametrize("k", (1, 2, 10))
@pytest.mark.parametrize("num_items, width", [(1, 3), (12, 2), (64, 5), (65, 5), (150, 16), (300, 40)])
def test_against_sorting(search, num_items, width, k):
    features = np.random.default_rng(num_items).standard_normal((num_items, width)).astype(np.float32)
    found = nearest_neighbours(features, k)
    assert found.dtype == np.int32 and found.shape == (num_items, min(k, num_items))
    assert np.array_equal(found, _by_sorting(features, k))


@pytest.mark.parametrize("k", (1, 3, 10, 63))
@pytest.mark.parametrize("num_items", (70, 200))
@pytest.mark.parametrize("width", (4, 16, 64))
def test_ties_by_ascending_item(search, width, num_items, k):
    """A width of 4 has 16 different rows among hundreds: whole groups of equal items, more than fit as candidates."""
    features = _signs(np.random.default_rng(width), num_items, width)
    assert np.array_equal(nearest_neighbours(features, k), _by_sorting(features, k))


def test_all_items_alike(search):
    features = np.ones((100, 4), dtype=np.float32)
    assert nearest_neighbours(features, 3)[[0, 1, 2, 50]].tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1], [50, 0, 1]]


@pytest.mark.parametrize("spread", (1e-2, 1e-3, 1e-4))
@pytest.mark.parametrize("group", (20, 60, 130))
def test_near_ties_that_bfloat16_cannot_tell_apart(proposed, group, spread):
    """Groups of nearly equal items, below and above the number of candidates."""
    rng = np.random.default_rng(group)
    centres = rng.standard_normal((3, 24))
    features = np.repeat(centres, group, axis=0) + spread * rng.standard_normal((3 * group, 24))
    _check_nearly(features.astype(np.float32), 10)


def test_rounding_that_conspires(proposed):
    """bfloat16 moves the decoys' cosines up and the nearest item's down, by as much as it can.

    Item 0 lies half in block A, just above the middle between two bfloat16 numbers, half in block B, just below it.
    The decoys share A with it, the nearest item shares B and is nearer by a few parts in ten thousand.
    """
    up, down = 0.25 * (1 + 1.02 * 2**-8), 0.25 * (1 + 0.98 * 2**-8)
    a, b, both, rest = slice(0, 7), slice(7, 14), 14, slice(17, 40)
    target, nearest, decoys = np.zeros(40), np.zeros(40), np.zeros((40, 40))
    target[a], target[b], target[both] = up, down, 2**-3
    nearest[b], nearest[both] = down, 2**-8
    target[15], nearest[16] = np.sqrt(1 - target @ target), np.sqrt(1 - nearest @ nearest)
    decoys[:, a] = up
    decoys[:, rest] = np.random.default_rng(0).standard_normal((40, 23))
    decoys[:, rest] *= np.sqrt((1 - 7 * up**2) / (decoys[:, rest] ** 2).sum(1, keepdims=True))
    others = np.eye(40)[:30]  # so that there are more items than candidates
    features = np.vstack([target, decoys, nearest, others]).astype(np.float32)
    assert nearest_neighbours(features, 2)[0].tolist() == [0, 41]


@pytest.mark.parametrize("k", (CANDIDATES - 1, CANDIDATES, CANDIDATES + 1, 100, 150, 500))
def test_more_neighbours_than_candidates_or_items(search, k):
    features = np.random.default_rng(1).standard_normal((150, 12)).astype(np.float32)
    assert np.array_equal(nearest_neighbours(features, k), _by_sorting(features, k))


def test_items_without_content_have_themselves(search):
    rng = np.random.default_rng(2)
    features = rng.standard_normal((90, 8)).astype(np.float32)
    features[[0, 40, 89]] = 0
    found = nearest_neighbours(features, 5)
    assert found[[0, 40, 89]].tolist() == [[0] * 5, [40] * 5, [89] * 5]
    assert np.array_equal(found, _by_sorting(features, 5))


def test_nothing_but_blank_items(search):
    assert nearest_neighbours(np.zeros((70, 3), dtype=np.float32), 2).tolist() == [[item, item] for item in range(70)]


@pytest.mark.parametrize("rows, cosines", [(1, 2**24), (7, 2**24), (256, 1), (256, 450)])
def test_blocks_do_not_show(monkeypatch, search, rows, cosines):
    features = np.random.default_rng(3).standard_normal((150, 12)).astype(np.float32)
    monkeypatch.setattr(neighbours, "ROWS_PER_BLOCK", rows)
    monkeypatch.setattr(neighbours, "COSINES_PER_BLOCK", cosines)
    assert np.array_equal(nearest_neighbours(features, 4), _by_sorting(features, 4))


@pytest.mark.parametrize("dtype", (np.float16, np.float32, np.float64))
def test_floating_types_and_strides(search, dtype):
    features = np.random.default_rng(4).standard_normal((24, 160)).astype(dtype).T[::2]
    found = nearest_neighbours(features, 6)
    assert np.array_equal(found, _by_sorting(features, 6))


def test_length_does_not_matter(search):
    rng = np.random.default_rng(5)
    features = rng.standard_normal((100, 8)).astype(np.float32)
    scaled = features * 2.0 ** rng.integers(-10, 10, size=(100, 1)).astype(np.float32)
    assert np.array_equal(nearest_neighbours(scaled, 5), nearest_neighbours(features, 5))


def test_input_stays_as_it_was(search):
    features = np.random.default_rng(6).standard_normal((100, 8)).astype(np.float32)
    before = features.copy()
    nearest_neighbours(features, 5)
    assert np.array_equal(features, before)


def test_small_searches_skip_the_proposals(monkeypatch):
    """Below SPARE_FLOPS nobody measures the processor."""
    monkeypatch.setattr(neighbours, "_bfloat16_is_faster", lambda width: pytest.fail("measured"))
    nearest_neighbours(np.random.default_rng(7).standard_normal((100, 8)), 5)


def test_the_processor_decides(monkeypatch):
    used = []
    monkeypatch.setattr(neighbours, "SPARE_FLOPS", 0)
    original = neighbours._proposed_search
    monkeypatch.setattr(neighbours, "_proposed_search", lambda unit, k: used.append(k) or original(unit, k))
    features = np.random.default_rng(8).standard_normal((100, 8))
    for faster, calls in ((False, []), (True, [5])):
        monkeypatch.setattr(neighbours, "_bfloat16_is_faster", lambda width: faster)
        nearest_neighbours(features, 5)
        assert used == calls
