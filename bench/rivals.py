"""What else a user could call for the same result: the strongest alternatives, written as their users write them."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.timing import free_bytes
from mde_fast.kernels import CSRGraph
from mde_fast.kernels.propagate.reference import propagate_reference
from mde_fast.kernels.spmm.reference import spmm_reference
from mde_fast.training.step import TrainingStep


def combine_layers(product: Callable[[Tensor], Tensor], x: Tensor, layers: int) -> Tensor:
    """LightGCN's mean over layers as its users write it: a list and a stack."""
    embeddings = [x]
    for _ in range(layers):
        embeddings.append(product(embeddings[-1]))
    return torch.stack(embeddings, dim=1).mean(dim=1)


def coo_product(graph: CSRGraph, values: Tensor) -> Callable[[Tensor], Tensor]:
    """``torch.sparse.mm`` on a coalesced COO matrix: LightGCN-PyTorch, MMRec."""
    indices = torch.stack([graph.rows().long(), graph.columns.long()])
    matrix = torch.sparse_coo_tensor(indices, values, graph.shape).coalesce()
    return lambda x: torch.sparse.mm(matrix, x)


def csr_product(graph: CSRGraph, values: Tensor) -> Callable[[Tensor], Tensor]:
    """``torch.sparse.mm`` on a CSR matrix: MKL on a CPU, cuSPARSE on a GPU."""
    matrix = torch.sparse_csr_tensor(graph.rowptr, graph.columns, values, graph.shape)
    return lambda x: torch.sparse.mm(matrix, x)


def bag_product(graph: CSRGraph, values: Tensor) -> Callable[[Tensor], Tensor]:
    """``embedding_bag`` with its own autograd."""
    return lambda x: F.embedding_bag(
        graph.columns, x, graph.rowptr, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def scatter_product(graph: CSRGraph, values: Tensor) -> Callable[[Tensor], Tensor]:
    """Gather the messages, scatter-add them: PyTorch Geometric's message passing."""
    source, target = graph.columns.long(), graph.rows().long()[:, None]

    def product(x: Tensor) -> Tensor:
        messages = values[:, None] * x.index_select(0, source)
        return x.new_zeros(graph.shape[0], x.shape[1]).scatter_add_(0, target.expand_as(messages), messages)

    return product


PRODUCTS = {
    "torch COO": coo_product,
    "torch CSR": csr_product,
    "embedding_bag": bag_product,
    "gather-scatter (PyG)": scatter_product,
}


COMPILED_EDGES = 1_000_000  # above, the compiled reference costs what the gather-scatter costs that it is made of


def products(graph: CSRGraph, width: int) -> dict[str, Callable]:
    """The products whose intermediate results have room: gather-scatter holds three matrices of a row per edge."""
    if 3 * 4 * graph.num_edges * width < free_bytes(graph.columns.device) / 2:
        return PRODUCTS
    return {name: make for name, make in PRODUCTS.items() if make is not scatter_product}


def propagate_rivals(
    graph: CSRGraph, layers: int, width: int, *, compiled: bool
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Alternatives to propagate with ``combine="mean"``, by name."""
    values = graph.normalised_values()

    def rival(make):
        product = make(graph, values)
        return lambda x: combine_layers(product, x, layers)

    rivals = {name: rival(make) for name, make in products(graph, width).items()}
    if compiled and graph.num_edges <= COMPILED_EDGES:
        graph.prepare()
        rivals["torch.compile(reference)"] = torch.compile(lambda x: propagate_reference(graph, x, layers, "mean"))
    return rivals


def spmm_rivals(graph: CSRGraph, width: int, *, compiled: bool) -> dict[str, Callable[[Tensor], Tensor]]:
    """Alternatives to ``spmm(graph, x, residual=x)``, by name."""
    values = graph.edge_values()

    def rival(make):
        product = make(graph, values)
        return lambda x: x + product(x)

    rivals = {name: rival(make) for name, make in products(graph, width).items()}
    if compiled and graph.num_edges <= COMPILED_EDGES:
        graph.prepare()
        rivals["torch.compile(reference)"] = torch.compile(lambda x: spmm_reference(graph, x, None, x))
    return rivals


def compiled_step(step: TrainingStep) -> Callable[[], None]:
    """A training step with the reference operators of the model under ``torch.compile``; Adam is fused already."""
    graphs = vars(step.model.graphs).values()
    for graph in graphs:
        graph.prepare()
    step.model.loss_parts = torch.compile(step.model.loss_parts)
    # Compiled code never takes the reference by itself. The sampler is no part of what is compiled, and stays fast.
    operators = [
        module
        for name, module in sys.modules.items()
        if name.startswith("mde_fast.kernels.") and hasattr(module, "use_reference") and "negatives" not in name
    ]

    def run():
        with pytest.MonkeyPatch.context() as patch:
            for module in operators:
                patch.setattr(module, "use_reference", _always)
            step(0)

    return run


def _always(device: torch.device) -> bool:
    return True
