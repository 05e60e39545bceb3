"""What can be said of parts and messages without other processes."""

from __future__ import annotations

import pytest
import torch

from mde_fast.errors import InputError
from mde_fast.world import ALONE, Part, World


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("part", "shape"), [(Part(0), (7, 4)), (Part(1), (3, 30)), (Part(1, 2), (3, 60)), (Part(2), (2, 3, 30))]
)
def test_pieces_make_the_whole(part, shape, size):
    whole = torch.randn(shape)
    pieces = [part.of(whole, rank, size) for rank in range(size)]
    assert torch.equal(part.joined(pieces), whole)


def test_groups_are_cut_one_by_one():
    assert Part(1, groups=2).of(torch.arange(8)[None], 0, 2).tolist() == [[0, 1, 4, 5]]


@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_rows_are_those_of_a_part(count):
    rows = torch.arange(count)[:, None]
    for rank in range(4):
        assert torch.equal(rows[World(rank, 4).rows(count)], Part(0).of(rows, rank, 4))


def test_columns_are_dealt_out_evenly():
    assert World(0, 4).columns(64) == 16
    with pytest.raises(InputError, match="embedding_size: 64 columns cannot be dealt out evenly to 3 processes"):
        World(0, 3).columns(64)


def test_alone_everything_is_what_it_was():
    x = torch.randn(4, 6, requires_grad=True)
    same = (ALONE.total(x), ALONE.shared(x)[0], ALONE.to_columns(x, 4), ALONE.columns_of_sum(x), ALONE.all_columns(x))
    assert all(each is x for each in same)
    assert ALONE.own(x, Part(1)) is x and ALONE.first_says("run") == "run" and ALONE.any(True) and not ALONE.all(False)
    assert ALONE.sent == 0


def test_an_error_alone_is_itself():
    error = InputError("of its own")
    with pytest.raises(InputError) as caught, ALONE.together():
        raise error
    assert caught.value is error
