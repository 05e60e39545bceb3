"""What else a user could call for the same result: the strongest alternatives, written as their users write them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Collection
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.compiled import TUNED, compiled_variants
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


def csr_product(graph: CSRGraph, values: Tensor, index: torch.dtype | None = None) -> Callable[[Tensor], Tensor]:
    """``torch.sparse.mm`` on a CSR matrix: MKL on a CPU, cuSPARSE on a GPU; indices as the graph has them, or so."""
    matrix = _csr_matrix(graph, values, index)
    return lambda x: torch.sparse.mm(matrix, x)


def _csr_matrix(graph: CSRGraph, values: Tensor, index: torch.dtype | None = None) -> Tensor:
    rowptr, columns = (each.to(index or graph.columns.dtype) for each in (graph.rowptr, graph.columns))
    return torch.sparse_csr_tensor(rowptr, columns, values, graph.shape)


class BothDirections(torch.autograd.Function):
    """A product whose transposed matrix is there already; ``torch.sparse.mm`` makes it at each gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return torch.sparse.mm(matrix, x)

    @staticmethod
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.sparse.mm(ctx.transposed, grad), None, None


def csr_both_product(graph: CSRGraph, values: Tensor) -> Callable[[Tensor], Tensor]:
    """cuSPARSE as whoever cares about the gradient writes it: int32 indices, the transpose made once."""
    matrix, order = _csr_matrix(graph, values), graph.transpose_order()
    counts = torch.bincount(graph.columns.long(), minlength=graph.shape[1])
    rowptr = F.pad(counts.cumsum(0), (1, 0)).to(graph.rowptr.dtype)
    shape = (graph.shape[1], graph.shape[0])
    transposed = torch.sparse_csr_tensor(rowptr, graph.rows()[order], values[order], shape)
    return lambda x: BothDirections.apply(x, matrix, transposed)


def geometric_product(graph: CSRGraph, values: Tensor) -> Callable[[Tensor], Tensor]:
    """PyTorch Geometric's own product, with what it needs for both directions cached."""
    from torch_geometric import EdgeIndex

    places = torch.stack([graph.rows(), graph.columns])
    size = graph.shape
    edges = EdgeIndex(places, sparse_size=size, sort_order="row", is_undirected=graph.symmetric).fill_cache_()
    return lambda x: edges.matmul(x, input_value=values)


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


def _products(device: torch.device) -> dict[str, Callable[[CSRGraph, Tensor], Callable[[Tensor], Tensor]]]:
    """The products that count on a device."""
    if device.type == "cpu":
        return PRODUCTS
    more = {"torch CSR, int64": partial(csr_product, index=torch.int64), "torch CSR, both directions": csr_both_product}
    if importlib.util.find_spec("torch_geometric"):
        more["PyG's EdgeIndex"] = geometric_product
    return PRODUCTS | more


COMPILED_EDGES = 1_000_000  # above, the compiled reference costs what the gather-scatter costs that it is made of


def products(graph: CSRGraph, width: int) -> dict[str, Callable]:
    """The products whose intermediate results have room: gather-scatter holds three matrices of a row per edge."""
    makers = _products(graph.device)
    if 3 * 4 * graph.num_edges * width < free_bytes(graph.device) / 2:
        return makers
    return {name: make for name, make in makers.items() if make is not scatter_product}


def propagate_rivals(
    graph: CSRGraph, layers: int, width: int, *, compiled: Collection[str]
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Alternatives to propagate with ``combine="mean"``, by name."""
    values = graph.normalised_values()

    def rival(make):
        product = make(graph, values)
        return lambda x: combine_layers(product, x, layers)

    rivals = {name: rival(make) for name, make in products(graph, width).items()}
    if compiled and graph.num_edges <= COMPILED_EDGES:
        graph.prepare()
        rivals |= compiled_variants(
            "torch.compile(reference)", lambda x: propagate_reference(graph, x, layers, "mean"), graph.device, compiled
        )
    return rivals


def spmm_rivals(graph: CSRGraph, width: int, *, compiled: Collection[str]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Alternatives to ``spmm(graph, x, residual=x)``, by name."""
    values = graph.edge_values()

    def rival(make):
        product = make(graph, values)
        return lambda x: x + product(x)

    rivals = {name: rival(make) for name, make in products(graph, width).items()}
    if compiled and graph.num_edges <= COMPILED_EDGES:
        graph.prepare()
        rivals |= compiled_variants(
            "torch.compile(reference)", lambda x: spmm_reference(graph, x, None, x), graph.device, compiled
        )
    return rivals


def compiled_step(step: TrainingStep) -> Callable[[], None]:
    """A training step with the reference operators of the model under ``torch.compile``; Adam is fused already."""
    graphs = vars(step.model.graphs).values()
    for graph in graphs:
        graph.prepare()
    on_gpu = step.draws.device.type == "cuda"
    step.model.loss_parts = torch.compile(step.model.loss_parts, mode=TUNED if on_gpu else None)
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
