"""What kernels declare that they move and compute, against counts by hand."""

from functools import partial
from importlib import import_module

import pytest
import torch

pytest.importorskip("triton")

from bench.launches import declared, recorded, without_numbers
from mde_fast.kernels import (
    CSRGraph,
    NegativeTable,
    adam_step,
    bpr,
    cosine_losses,
    dropout,
    edge_softmax,
    infonce,
    negatives_from_bits,
    node_losses,
    normalize_rows,
    objective,
    project_rows,
    spmm,
)
from mde_fast.kernels.topk.primitives import mask_seen
from mde_fast.kernels.work import SECTOR, Work

OPERATORS = (
    *("adam", "bpr", "cosine_losses", "dropout", "edges", "infonce", "negatives", "node_losses", "normalize_rows"),
    *("objective", "project_rows", "spmm", "topk"),
)


def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def ids(*shape):
    return meta(*shape, dtype=torch.int64)


def graph(edges=5, rows=3, columns=4, *, stored=False):
    """Five edges of three rows; the last row has what is left over."""
    row = torch.tensor([0, 0, 1] + [2] * (edges - 3))
    column = torch.arange(edges) % columns
    values = torch.ones(edges) if stored else None
    return without_numbers(CSRGraph.from_edges(row, column, (rows, columns), values))


def test_row_sum():
    with recorded() as launches:
        spmm(graph(stored=True), meta(4, 8), residual=meta(3, 8))
    (launch,) = launches
    # Columns, three pieces of four numbers, values, residual and result; a row of eight for each edge.
    assert launch.work.streamed == 5 * 4 + 3 * 4 * 4 + 5 * 4 + 2 * 3 * 8 * 4
    assert launch.work.gathered == 5 * 8 * 4 and launch.work.table == 4 * 8 * 4
    assert launch.work.operations == 2 * 5 * 8 and launch.programs == 3


def test_row_sum_of_a_long_row():
    """Of 302 edges in a row: three partial sums, which a second launch adds up."""
    with recorded() as launches:
        spmm(graph(edges=305, columns=400), meta(400, 8))
    pieces, sums = launches
    assert pieces.programs == 2 + 3 and sums.programs == 1
    assert pieces.work.streamed == 305 * 4 + 5 * 4 * 4 + 2 * 8 * 4 + 3 * 8 * 4
    assert pieces.work.operations == 305 * 8
    assert sums.work.streamed == 3 * 8 * 4 + 3 * 4 + 8 * 4


def test_edge_softmax():
    with recorded() as launches:
        edge_softmax(graph(), meta(5))
    (launch,) = launches
    assert launch.work == Work(5 * 4 + 5 * 4 + 3 * 4 * 4, operations=3 * 5, chain=2)


def test_bpr():
    with recorded() as launches:
        bpr(meta(7, 2, 16), meta(9, 2, 16), ids(10), ids(10), ids(10), item_logits=meta(9, 2))
    forward, sums = launches
    # Ids, three slopes a triple, three partial losses of each of three programs.
    assert forward.work.streamed == 3 * 10 * 8 + 10 * 3 * 4 + 3 * 3 * 4 and forward.programs == 3
    assert forward.work.gathered == 10 * (3 * 2 * 16 * 4 + 2 * 2 * 4)
    assert forward.work.table == (7 + 9) * 2 * 16 * 4
    assert sums.work.streamed == 3 * 3 * 4 + 3 * 4


def test_bpr_backward():
    h_users = meta(7, 2, 16).requires_grad_()
    with recorded() as launches:
        bpr(h_users, meta(9, 2, 16), ids(10), ids(10), ids(10)).sum().backward()
    sort = next(launch for launch in launches if launch.name == "sort_entries_kernel")
    # A block of 16 entries holds the users, two the items; three numbers are written for each of them.
    assert sort.work.streamed == 3 * 30 * 8 and sort.work.gathered == (10 + 2 * 20) * 8
    assert sort.work.operations == 10 * (10 * 10 + 20 * 20) and sort.programs == 2 * 2


@pytest.mark.parametrize("rows", (None, 6))
def test_cosine_losses(rows):
    with recorded() as launches:
        chosen = None if rows is None else ids(rows)
        tensors = meta(5, 3, 16), meta(rows or 5, 2, 16)
        cosine_losses(*tensors, pairs=[(0, 0), (2, 0)], rows=chosen)
    (launch,) = launches
    own, target = 2 * 16 * 4, 16 * 4  # of a row: two of its three vectors, one of the target's two
    if rows is None:
        assert launch.work.bytes == 5 * (own + target) + 2 * 4
    else:
        assert launch.work.gathered == 6 * own and launch.work.streamed == 6 * 8 + 6 * target + 2 * 4


def test_dropout():
    with recorded() as launches:
        dropout(meta(30, 8), 0.3, ids())
    (launch,) = launches
    assert launch.work.bytes == 2 * 30 * 8 * 4 + 8


def test_adam_step():
    with recorded() as launches:
        adam_step(*(meta(30, 8, dtype=torch.bfloat16) for _ in range(4)), meta(), learning_rate=0.1)
    (launch,) = launches
    assert launch.work.bytes == 7 * 30 * 8 * 2 + 4  # four read, three written, and the number of the step


def test_infonce():
    with recorded() as launches:
        infonce(meta(32, 2, 64), weight=meta(32), nodes=ids(32))
    launch = next(launch for launch in launches if launch.name == "infonce_forward_kernel")
    # Both directions, two programs each: all keys each time, and every program's own rows.
    assert launch.work.gathered == 2 * (2 + 1) * 32 * 64 * 4 and launch.work.table == 32 * 2 * 64 * 4
    assert launch.work.operations == 2 * 2 * 32 * 32 * 64 and launch.work.arithmetic == "fp32"
    assert launch.work.streamed == 2 * 2 * 32 * 4 + 32 * 8 and launch.programs == 2 * 2


def test_draw_negatives():
    table = without_numbers(NegativeTable.build(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 3]), 2, 4))
    with recorded() as launches:
        negatives_from_bits(table, ids(10), ids(10))
    (launch,) = launches
    # Three candidates take two halvings. No more of the table is read than it has: 3 items, 3 places, 3 keys.
    assert launch.work.streamed == 3 * 10 * 8 and launch.work.gathered == 10 * (1 + 2 + 1) * SECTOR
    assert launch.work.table == 9 * 8


def test_node_losses():
    with recorded() as launches:
        node_losses(meta(50, 2, 64), preference_logits=meta(50, 2), mda="row_l2", msa="cosine")
    forward, sums = launches
    # Rows and logits; a weight, two norms, a cosine and a distance a node; two sums of each of its four programs.
    assert forward.programs == 4
    assert forward.work.bytes == 50 * 2 * 64 * 4 + 50 * 2 * 4 + 50 * (1 + 2 + 1 + 1) * 4 + 4 * 2 * 4
    assert sums.work.bytes == 4 * 2 * 4


def test_normalize_rows():
    with recorded() as launches:
        normalize_rows(meta(30, 8))
    (launch,) = launches
    assert launch.work.bytes == 2 * 30 * 8 * 4 + 30 * 4


def test_objective():
    h_users, h_items = meta(50, 2, 64).requires_grad_(), meta(40, 2, 64).requires_grad_()
    logits = {"user_logits": meta(50, 2), "item_logits": meta(40, 2)}
    with recorded() as launches:
        parts = objective(h_users, h_items, meta(90, 2), ids(10), ids(10), ids(10), meta(6), **logits)
    sides, ranking, squares, sums = launches[:2], *launches[2:]
    assert [side.name for side in sides] == ["node_losses_forward_kernel"] * 2
    assert ranking.name == "bpr_forward_kernel"
    # Ids, all of W and three sums of one program; of each user's rows the norms.
    assert squares.work.streamed == 10 * 8 + 90 * 2 * 4 + 3 * 4 and squares.programs == 1
    assert squares.work.gathered == 10 * 2 * 4
    # Two sums of the four and of the three programs of a side, three of three of the ranking's; weights and results.
    assert sums.work.bytes == 2 * 4 * 4 + 2 * 3 * 4 + 3 * 3 * 4 + 3 * 4 + 2 * 6 * 4
    with recorded() as launches:
        parts.sum().backward()
    names = [launch.name.removesuffix("_kernel") for launch in launches]
    assert names == [
        *("node_losses_backward", "node_losses_backward", "sort_entries", "squares_backward"),
        *("bpr_backward", "add_up_pieces", "bpr_backward", "add_up_pieces"),
    ]
    squares, ranking = launches[3], launches[4]
    # The norms of ten users, all gradients of norms, W and its gradients; 180 places look five times for their row.
    assert squares.work.streamed == 10 * 2 * 4 + 90 * 2 * 4 + 2 * 90 * 2 * 4
    assert squares.work.gathered == 180 * 5 * 8 and squares.work.table == 10 * 8
    # Rows and their ends, their entries, three slopes, both items, and a gradient that is read and written.
    assert ranking.work.streamed == 10 * (4 * 8 + 2 * 8 + 3 * 4 + 2 * (2 * 64 * 4 + 2 * 4))


@pytest.mark.parametrize("precision, arithmetic", (("fp32", "fp32"), ("tf32", "tf32"), ("bf16", "bf16")))
def test_project_rows(precision, arithmetic):
    with recorded() as launches:
        project_rows(meta(500, 96), ids(100), meta(64, 96), None, precision=precision)
    (launch,) = launches
    # Two tiles of 64 rows read the weight twice, one tile of 64 results the rows once.
    assert launch.work.gathered == 100 * 96 * 4 + 2 * 64 * 96 * 4 and launch.work.table == (100 + 64) * 96 * 4
    assert launch.work.streamed == 100 * 8 + 100 * 64 * 4
    assert launch.work.operations == 2 * 100 * 64 * 96 and launch.work.arithmetic == arithmetic


def test_topk():
    seen = graph()
    with recorded() as launches:
        mask_seen._run(meta(2, 4), ids(2), seen.rowptr, seen.columns)
    (launch,) = launches
    # Users, columns, the users' places, a sector for each score: users have 5 / 3 items on average.
    assert launch.work.streamed == pytest.approx(2 * 8 + 2 * 5 / 3 * 4)
    assert launch.work.gathered == pytest.approx(2 * SECTOR * (1 + 5 / 3))


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_kernel_declares_its_work(operator):
    """A kernel that is launched, that is: its name ends so."""
    module = import_module(f"mde_fast.kernels.{operator}.triton_kernels")
    work = import_module(f"mde_fast.kernels.{operator}.work")
    names = [name for name in vars(module) if name.endswith("_kernel")]
    assert names
    for name in names:
        assert declared(getattr(module, name)) is getattr(work, name.removesuffix("_kernel"))


def test_a_profiler_is_told_the_same():
    """Triton calls ``launch_metadata`` with the kernel's arguments by name, constants wrapped or not."""
    import triton.language as tl

    from mde_fast.kernels.dropout import work
    from mde_fast.kernels.triton_support import metrics_of

    arguments = {"x_ptr": meta(64), "out_ptr": meta(64), "seed_ptr": ids(), "rows_ptr": ids(8)}
    for wrapped in (tl.constexpr(True), True):
        told = metrics_of(work.dropout)((1,), None, arguments | {"HAS_ROWS": wrapped})
        assert told == {"bytes": 2 * 64 * 4 + 8 + 8 * 8, "flops32": 64}
    halves = partial(meta, dtype=torch.bfloat16)
    told = metrics_of(work.dropout)((1,), None, arguments | {"x_ptr": halves(64), "HAS_ROWS": False})
    assert told == {"bytes": 64 * 2 + 64 * 4 + 8, "flops32": 64}
