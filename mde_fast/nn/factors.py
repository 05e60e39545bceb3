"""X = Q B: a matrix of features with fewer independent columns than columns, as a product of two thin ones.

Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53 (2011): random sums of the rows of X
span its row space if there are as many as X has independent columns. All sums here are made in float64, a block of rows
of X at a time; Q and B are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# ||X - Q B|| / ||X|| that counts as nothing. Features that somebody's float32 products made carry some roundings of
# 2^-24 each (Baby's images 3.4e-7 of their length), and a product with 4,096 columns adds as much as that again.
EXACT = 2.0**-20
EXACT_ITEM = 2.0**-17  # the same for the item that is worst off
SPARE = 32  # random sums more than independent columns, so that chance leaves none of them out
PASSES = 2  # over X, to turn random sums towards its strongest directions, where weaker ones are cut off
ROWS_PER_BLOCK = 1024  # of X: what is in float64 at a time


@dataclass(frozen=True)
class Factors:
    """Features as Q B.

    Attributes:
        left: Q, (I, R) float32, where R is the sum of the ranks r below.
        right: B, block diagonal, a block for each modality that stands side by side: (r, F) float32 with orthonormal
            rows, or a number F, the identity of that size.
        kept: share of the squared Frobenius norm of X that Q B has.
    """

    left: Tensor
    right: tuple[Tensor | int, ...]
    kept: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """(I, F) of the features."""
        return self.left.shape[0], sum(block if isinstance(block, int) else block.shape[1] for block in self.right)


def on_rows(linear: Callable[[Tensor], Tensor], features: Tensor | Factors) -> Tensor | Factors:
    """A linear map of rows, A X for features X, (I, F): where X = Q B that is (A Q) B."""
    return linear(features) if isinstance(features, Tensor) else replace(features, left=linear(features.left))


def side_by_side(modalities: Sequence[Tensor | Factors]) -> Tensor | Factors:
    """[X_1 ... X_M], (I, F_1 + ... + F_M), of features (I, F_m) of which some may be factors."""
    if all(isinstance(features, Tensor) for features in modalities):
        return torch.cat([features for features in modalities if isinstance(features, Tensor)], dim=1)
    parts = [
        features if isinstance(features, Factors) else Factors(features, (features.shape[1],))
        for features in modalities
    ]
    return Factors(
        torch.cat([part.left for part in parts], dim=1), tuple(block for part in parts for block in part.right)
    )


# ---------------------------------------------------------------------------------------------------------------------
# Finding them


def exact_factors(features: Tensor, most: int) -> Factors | None:
    """Q and B of the rank of X, the error of which is a rounding (:data:`EXACT`, over items and columns).

    Items count alike, however long their rows are. That there are more than ``most`` independent columns is seen early,
    on ``most`` random sums of rows.

    Args:
        features: X, (I, F) float32, finite.
        most: the largest rank that is of use.

    Returns:
        None where the rank is larger.
    """
    lengths = torch.cat([block.square().sum(1).sqrt() for block in _blocks(features)])
    scale = torch.where(lengths > 0, 1 / lengths, 0.0)
    mixed = _mixed(features, min(*features.shape, most + SPARE), scale)
    found = _independent_rows(mixed)
    if found > most + SPARE // 2:  # roundings make some of the first dependent rows look like independent ones
        return None
    basis = _towards_the_strongest(features, mixed[: found + SPARE], 1, scale)
    left, basis, squares = _principal(features, basis, scale)
    rank = _rank(squares, scale.count_nonzero(), EXACT)
    if rank is None or rank > most:
        return None
    factors = _factors(left[:, :rank] * lengths[:, None], basis[:, :rank])
    return factors if _worst_item(features, factors, scale) <= EXACT_ITEM else None


def truncated_factors(features: Tensor, rank: int, error: float | None = None) -> Factors:
    """The strongest directions of X, (I, F) float32, finite: its singular value decomposition, cut off.

    Found on random sums, they have somewhat less of X than the very strongest: with an ``error`` of ||X - Q B|| / ||X||
    there are as many as keep it, some more than ``rank``, else ``rank``.
    """
    total = _squared_norm(features)
    size = min(*features.shape, rank + rank // 8 + SPARE)
    basis = _towards_the_strongest(features, _mixed(features, size), PASSES)
    left, basis, squares = _principal(features, basis)
    if error is not None:
        rank = _rank(squares, total, error) or size
    return _factors(left[:, :rank], basis[:, :rank], float(squares[:rank].sum() / total) if total > 0 else 1.0)


def rank_for_error(features: Tensor, error: float) -> int:
    """The smallest rank of a Q B with ||X - Q B|| <= ``error`` ||X||, by the eigenvalues of X^T X or X X^T."""
    narrow = features if features.shape[0] >= features.shape[1] else features.T
    gram = torch.zeros(narrow.shape[1], narrow.shape[1], dtype=torch.float64)
    for block in _blocks(narrow):
        gram.addmm_(block.T, block)
    squares = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0)
    return _rank(squares, squares.sum(), error) or len(squares)


def cut(factors: Factors, rank: int | None, error: float | None = None) -> Factors:
    """Exact factors of one block cut off at a rank, or at the smallest that keeps an error of ||X - Q B|| / ||X||."""
    (right,) = factors.right
    assert isinstance(right, Tensor)
    left, turned, squares = _principal(factors.left, torch.eye(len(right), dtype=torch.float64))
    if rank is None:
        rank = _rank(squares, squares.sum(), error or EXACT) or len(squares)
    kept = float(squares[:rank].sum() / squares.sum()) if squares.sum() > 0 else 1.0
    return _factors(left[:, :rank], right.T.double() @ turned[:, :rank], kept)


def _blocks(features: Tensor, scale: Tensor | None = None) -> Iterator[Tensor]:
    """X, or diag(scale) X, in float64, some rows (n, F) at a time."""
    for start in range(0, len(features), ROWS_PER_BLOCK):
        block = features[start : start + ROWS_PER_BLOCK].double()
        yield block if scale is None else block * scale[start : start + ROWS_PER_BLOCK, None]


def _along(features: Tensor, directions: Tensor, scale: Tensor | None = None) -> Tensor:
    """X V, (I, s), for V (F, s)."""
    return torch.cat([block @ directions for block in _blocks(features, scale)])


def _against(features: Tensor, rows: Tensor, scale: Tensor | None = None) -> Tensor:
    """X^T L, (F, s), for L (I, s)."""
    total = rows.new_zeros(features.shape[1], rows.shape[1])
    for block, own in zip(_blocks(features, scale), rows.split(ROWS_PER_BLOCK)):
        total.addmm_(block.T, own)
    return total


def _squared_norm(features: Tensor) -> Tensor:
    return torch.stack([block.square().sum() for block in _blocks(features)]).sum()


def _mixed(features: Tensor, count: int, scale: Tensor | None = None) -> Tensor:
    """(count, F) sums of X's rows, every row with a random sign in one of them; by a seed of its own."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(2, (len(features),), generator=generator).double() * 2 - 1
    weights = weights if scale is None else weights * scale
    mixed = torch.zeros(count, features.shape[1], dtype=torch.float64)
    for rows in torch.randperm(len(features), generator=generator).split(count):
        mixed[: len(rows)].addcmul_(features[rows].double(), weights[rows, None])
    return mixed


def _independent_rows(rows: Tensor) -> int:
    """How many rows (n, F) are not combinations of those before, as far as ten times :data:`EXACT` shows.

    On the diagonal of R in A^T = Q R stand the distances of A's rows, of length 1, from the span of those before them.
    """
    distances = torch.linalg.qr(torch.nn.functional.normalize(rows, dim=1).T, mode="r").R.diagonal().abs()
    return int((distances > 10 * EXACT).sum())


def _towards_the_strongest(features: Tensor, rows: Tensor, passes: int, scale: Tensor | None = None) -> Tensor:
    """V (F, s), orthonormal columns: what ``rows`` (s, F) span, turned towards X's strongest directions in each pass.

    The columns of X without content get rows of zeros, so that not even a rounding is their gradient.
    """
    basis = torch.linalg.qr(rows.T).Q
    for _ in range(passes):
        basis = torch.linalg.qr(_against(features, _along(features, basis, scale), scale)).Q
    empty = (features == 0).all(0)
    return basis.masked_fill_(empty[:, None], 0)


def _principal(features: Tensor, basis: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """X V turned to its principal axes, V turned alike, and the squared singular values of X V, largest first.

    Args:
        features: X, (I, F).
        basis: V, (F, s), orthonormal columns.
        scale: (I,), of the rows of X.
    """
    left = _along(features, basis, scale)
    squares, turned = torch.linalg.eigh(left.T @ left)
    turned = turned.flip(1)
    return left @ turned, basis @ turned, squares.flip(0).clamp_min(0)


def _rank(squares: Tensor, total: Tensor, error: float) -> int | None:
    """The fewest of the squared singular values that leave at most ``error``^2 of ``total``; None if all leave more."""
    rests = total - torch.cat([squares.new_zeros(1), squares.cumsum(0)])
    enough = (rests <= error**2 * total).nonzero()
    return max(int(enough[0]), 1) if len(enough) else None  # one for zeros: no product has to do without a column


def _factors(left: Tensor, basis: Tensor, kept: float = 1.0) -> Factors:
    return Factors(left.float().contiguous(), (basis.T.float().contiguous(),), kept)


def _worst_item(features: Tensor, factors: Factors, scale: Tensor) -> float:
    """The largest ||x_i - q_i B|| / ||x_i|| of an item."""
    (right,) = factors.right
    assert isinstance(right, Tensor)
    worst = 0.0
    blocks = zip(_blocks(features), factors.left.split(ROWS_PER_BLOCK), scale.split(ROWS_PER_BLOCK))
    for block, left, own in blocks:
        errors = torch.addmm(block, left.double(), right.double(), alpha=-1).square().sum(1).sqrt() * own
        worst = max(worst, float(errors.max()))
    return worst
