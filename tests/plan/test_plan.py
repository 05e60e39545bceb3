"""The plan's formulas against what small models hold, and its lines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "world"))

from steps import CASES, batch_size, build, dataset_of, options_of

from mde_fast.errors import InputError
from mde_fast.kernels import CSRGraph
from mde_fast.models import Model
from mde_fast.models.mde import MDE
from mde_fast.plan.__main__ import describe, main
from mde_fast.plan.formulas import memory, sent_per_step
from mde_fast.plan.layout import LAYOUTS, Sizes, layout_of
from mde_fast.runs.config import make_config
from mde_fast.world import World

PLANNED = [name for name, (model, _, data) in CASES.items() if model in LAYOUTS and "rank" not in data]
MICROLENS = Sizes(1_000_000, 91_402, 9_100_000, (1024, 768), 2048)


def sizes_of(name: str) -> Sizes:
    dataset = dataset_of(name)
    widths = tuple(matrix.shape[1] for matrix in dataset.features.values())
    counts = dataset.num_users, dataset.num_items, len(dataset.train)
    return Sizes(*counts, features=widths, batch=batch_size(dataset))


def graphs_of(model: Model) -> list[CSRGraph]:
    """Every graph that a model's message passing reads."""
    if isinstance(model, MDE):
        return [model.graphs.user_item, model.graphs.user_user, model.graphs.item_item]
    found = [model.content.user_item] if hasattr(model, "content") and hasattr(model.content, "user_item") else []
    names = ("user_item", "whole", "item_item", "item_graph")
    return found + [graph for name in names if isinstance(graph := getattr(model, name, None), CSRGraph)]


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("name", PLANNED)
def test_what_a_process_holds(name, processes):
    """The first process's parameters and features to the last byte; of graphs neighbours are a limit."""
    sizes, model = sizes_of(name), build(World(0, processes), name, dataset_of(name))
    layout = layout_of(CASES[name][0], options_of(name), sizes)
    held = memory(layout, sizes, processes, "fp32")
    assert held["parameters"] == sum(parameter.numel() * 4 for parameter in model.parameters())
    features = sum(buffer.numel() * 4 for key, buffer in model.named_buffers() if key.endswith("features"))
    assert held.get("features", 0) == features
    graphs = graphs_of(model)
    assert len(graphs) == len(layout.graphs)
    for graph, planned in zip(graphs, layout.graphs):
        assert graph.shape[0] == planned.rows and graph.symmetric == planned.symmetric
        assert graph.num_edges == planned.edges if planned.symmetric else graph.num_edges <= planned.edges


def test_what_a_graph_takes():
    """Row ends and columns in int32, of a graph like LightGCN's."""
    model = build(World(), "lightgcn", dataset_of("lightgcn"))
    sizes = sizes_of("lightgcn")
    (graph,) = graphs_of(model)
    held = memory(layout_of("lightgcn", options_of("lightgcn"), sizes), sizes, 1, "fp32")
    assert held["graphs"] == sum(tensor.numel() * tensor.element_size() for tensor in (graph.rowptr, graph.columns))


@pytest.mark.parametrize("model", LAYOUTS)
def test_more_processes_hold_less_and_one_sends_nothing(model):
    layout = layout_of(model, make_config({"model": model}).hyper, MICROLENS)
    held = [sum(memory(layout, MICROLENS, processes, "fp32").values()) for processes in (1, 2, 4, 8)]
    assert held == sorted(held, reverse=True) and held[0] > held[-1]
    assert sum(sent_per_step(layout, MICROLENS, 1).values()) == 0


def test_no_graph_traffic():
    """LightGCN's messages do not grow with the graph."""
    layouts = [
        layout_of("lightgcn", make_config({"model": "lightgcn"}).hyper, Sizes(10**6, 10**5, edges, (), 2048))
        for edges in (10**6, 10**9)
    ]
    assert len({sum(sent_per_step(layout, MICROLENS, 4).values()) for layout in layouts}) == 1


def test_lines(capsys):
    main("--users 1e6 --items 91402 --interactions 9.1e6 --features 1024,768 --gpus 2 --kind h200".split())
    out = capsys.readouterr().out
    assert "NOT a measurement" in out and "mde on 2 x NVIDIA H200 SXM: 1,000,000 users, 91,402 items" in out
    assert "fits: " in out and "an epoch: 4,444 steps" in out


def test_what_fits_is_named():
    config = make_config({"model": "lightgcn"})
    large = Sizes(10**8, 10**7, 10**9, (), 2048)
    text = "\n".join(describe(config, large, 1, "h100"))
    assert "does NOT fit" in text and "the smallest number of GPUs that fits is" in text
    text = "\n".join(describe(config, Sizes(10**9, 10**8, 10**11, (), 2048), 64, "h200"))
    assert "no number of GPUs" in text and "graphs" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--users 1e6 --items 0 --interactions 5", "--items: 0 must be a whole number"),
        ("--users many --items 5 --interactions 5", "--users: many must be"),
        ("--users 5 --items 5 --interactions 5 --gpus 3", "--gpus: 64 columns cannot be dealt out evenly to 3"),
        ("--users 5 --items 5 --interactions 5 --features 7", "--features: mde needs two modalities"),
    ],
)
def test_refusals(flags, message):
    with pytest.raises(InputError, match=message):
        main(flags.split())
