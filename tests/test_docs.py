"""The pages' examples run, from top to bottom, and their assertions hold."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from mde_fast import kernels
from mde_fast.kernels import (
    CSRGraph,
    bpr,
    cosine_losses,
    dropout,
    edge_dots,
    edge_softmax,
    infonce,
    node_losses,
    normalize_rows,
    objective,
    project_rows,
    propagate,
    source_rows,
    spmm,
    spmm_blocks,
    topk,
)

DOCS = Path(__file__).parent.parent / "docs"


def _examples(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_examples_of_the_operators():
    names = {}
    for number, example in enumerate(_examples("operators.md")):
        exec(compile(example, f"operators.md, example {number + 1}", "exec"), names)


def test_every_operator_has_an_example():
    lines = "\n".join(_examples("operators.md")).splitlines()
    imported = "\n".join(line for line in lines if "import" in line)
    for name in kernels.__all__:
        assert re.search(rf"\b{name}\b", imported), f"docs/operators.md has no example of {name}"


def test_types_and_autocast():
    """As the page says: results have the type of the input, also under autocast."""
    graph = CSRGraph.from_edges(torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 2, 1]), (3, 3))
    graph.symmetric = True
    ids = (torch.tensor([0, 1]),) * 3
    operators = {
        "propagate": lambda x: propagate(graph, x[:, 0]),
        "spmm": lambda x: spmm(graph, x[:, 0]),
        "spmm_blocks": lambda x: spmm_blocks((graph, graph), x.flatten(0, 1), (3, 3))[1],
        "edge_dots": lambda x: edge_dots(graph, x[:, 0], x[:, 1]),
        "edge_softmax": lambda x: edge_softmax(graph, x[0, 0, :4]),
        "source_rows": lambda x: source_rows(graph, x[:, 0]),
        "bpr": lambda x: bpr(x, x, *ids),
        "node_losses": lambda x: node_losses(x)[0],
        "objective": lambda x: objective(
            x, x, x[..., 0].abs(), *ids, torch.ones(6, dtype=x.dtype), user_logits=x[..., 0], item_logits=x[..., 0]
        ),
        "cosine_losses": lambda x: cosine_losses(x, x, pairs=((0, 1),), rows=ids[0], target_rows=ids[0]),
        "normalize_rows": normalize_rows,
        "dropout": lambda x: dropout(x, 0.3, torch.tensor(1)),
    }
    others = {
        "infonce": lambda x: infonce(x, weight=torch.ones(3, dtype=x.dtype), nodes=torch.arange(3)),
        "topk": lambda x: topk(x[:, 0], x[:, 1], 2)[0],
        "project_rows": lambda x: project_rows(x[:, 0], ids[0], x[:, 1]),
    }
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
        for name, operator in (operators | others).items():
            assert operator(x).dtype == dtype, name
        for name, operator in operators.items():
            expected = operator(x)
            with torch.autocast("cpu", torch.bfloat16):
                assert torch.equal(operator(x), expected), name


def test_compiled_whole():
    """As the page says: every operator, without a break in the graph."""
    graph = CSRGraph.from_edges(torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 2, 1]), (3, 3))
    graph.symmetric = True
    graph.prepare()
    ids = (torch.tensor([0, 1]),) * 3
    table = kernels.NegativeTable.build([0, 1, 2], [0, 1, 2], 3, 3)
    x = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    for operator in (
        lambda: propagate(graph, x[:, 0]),
        lambda: spmm(graph, x[:, 0]),
        lambda: spmm_blocks((graph, graph), x.flatten(0, 1), (3, 3)),
        lambda: edge_dots(graph, x[:, 0], x[:, 1]),
        lambda: edge_softmax(graph, x[0, 0, :4]),
        lambda: source_rows(graph, x[:, 0]),
        lambda: bpr(x, x, *ids),
        lambda: objective(x, x, x[..., 0].abs(), *ids, torch.ones(6), user_logits=x[..., 0], item_logits=x[..., 0]),
        lambda: node_losses(x)[0],
        lambda: cosine_losses(x, x, pairs=((0, 1),), rows=ids[0], target_rows=ids[0]),
        lambda: normalize_rows(x),
        lambda: dropout(x, 0.3, torch.tensor(1)),
        lambda: infonce(x, weight=torch.ones(3), nodes=torch.arange(3)),
        lambda: topk(x[:, 0], x[:, 1], 2)[0],
        lambda: project_rows(x[:, 0], ids[0], x[:, 1]),
    ):
        torch.testing.assert_close(torch.compile(operator, fullgraph=True, backend="aot_eager")(), operator())
    draw = torch.compile(lambda users: kernels.sample_negatives(table, users), fullgraph=True, backend="aot_eager")
    assert (draw(torch.tensor([0, 1, 2])) != torch.tensor([0, 1, 2])).all()
