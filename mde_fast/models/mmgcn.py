"""MMGCN (Wei et al., MM 2019): a graph convolution network for each modality, added up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import CSRGraph, normalize_rows, spmm
from ..nn.linear import linear
from ..nn.towers import FeatureTower
from ..options import Options, at_least, option
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class MMGCNOptions(Options):
    """As in MMRec, whose grid has the learning rates 1e-4, 5e-4, 1e-3, 5e-3 and 1e-2 beside ``reg_weight``."""

    owner: ClassVar[str] = "mmgcn"
    mmrec_ignored: ClassVar[Mapping[str, str]] = {"n_layers": "the published code has three layers whatever it says"}

    embedding_size: int = option(64, "d, dimensions of an embedding", check=at_least(1))
    reduced: tuple[str, ...] = option(("image",), "modalities whose features are brought to reduced_size first")
    reduced_size: int = option(256, "width of the reduced features", check=at_least(1))
    learned_ids: bool = option(
        False,
        "learn id embeddings and preferences (the paper); the published code leaves them as drawn, on any device",
    )
    reg_weight: float = option(
        0.0,
        "of the squared id embeddings and image preferences; has an effect with learned_ids only",
        check=at_least(0),
        search=(0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    )


class MMGCN(Model[MMGCNOptions]):
    """Per modality three layers of mean aggregation over the user-item graph; the mean over modalities; BPR.

    U users, I items, N = U + I nodes, users first; D = ``embedding_size``; F_m, the width of modality m.
    """

    title = "MMGCN (2019): a graph convolution network per modality"
    Options = MMGCNOptions
    min_modalities = 1
    part_names = ("bpr", "regulariser")
    ids: Tensor

    def __init__(self, options: MMGCNOptions, inputs: Inputs):
        super().__init__()
        self.options, self.num_users = options, inputs.num_users
        self.graph = mean_graph(inputs.graphs.user_item())  # (N, N)
        train = CSRGraph.from_scipy(inputs.graphs.train, constant=1.0).to(inputs.graphs.device)
        sides = mean_graph(train), mean_graph(train.transpose())  # (U, I) and (I, U)
        ids = torch.empty(inputs.num_users + inputs.num_items, options.embedding_size)
        _add(self, "ids", nn.init.xavier_normal_(ids, generator=inputs.generator), options.learned_ids)
        self.modalities = tuple(inputs.features)
        self.networks = nn.ModuleList(Network(options, inputs, sides, name) for name in self.modalities)

    @classmethod
    def build(cls, options: MMGCNOptions, inputs: Inputs) -> MMGCN:
        return cls(options, inputs)

    def encode(self, nodes: Tensor | None = None) -> Tensor:
        """The representations of some nodes, (rows, D), or of all: the mean over modalities.

        Args:
            nodes: (rows,) numbers of nodes; the last layer is made for no others.
        """
        return torch.stack([network(self.graph, self.ids, nodes) for network in self.networks]).mean(0)

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR, and lambda times the mean squares of the batch's id embeddings and of all image preferences."""
        nodes = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        users, positives, negatives = self.encode(nodes).tensor_split(3)
        ranking = -F.logsigmoid((users * (positives - negatives)).sum(1)).mean()
        if not self.options.reg_weight:
            return torch.stack([ranking, torch.zeros_like(ranking)])
        users, positives, negatives = F.embedding(nodes, self.ids).square().mean(1).tensor_split(3)
        # A triple's user counts twice, once beside each of its items; of the preferences the image's alone count.
        regulariser = (2 * users + positives + negatives).mean() / 2
        if "image" in self.modalities:
            regulariser = regulariser + self.preference("image").square().mean()
        return torch.stack([ranking, self.options.reg_weight * regulariser])

    def preference(self, modality: str) -> Tensor:
        """(U, F_m) what stands for users where items have their features."""
        network = self.networks[self.modalities.index(modality)]
        assert isinstance(network, Network)
        return network.preference

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        rows = self.encode()
        return rows[: self.num_users], rows[self.num_users :]


class Network(nn.Module):
    """One modality's graph convolution network.

    Its first layer is made for users and items apart: each side hears from the other alone, and what is never learned,
    preferences as drawn and features as they are, is normalised and averaged once.
    """

    features: Tensor
    preference: Tensor

    def __init__(self, options: MMGCNOptions, inputs: Inputs, sides: tuple[CSRGraph, CSRGraph], name: str):
        """``sides`` are what users hear from items, (U, I), and items from users, (I, U); ``name`` is a modality."""
        super().__init__()
        generator, dim, features = inputs.generator, options.embedding_size, inputs.features[name]
        self.to_users, self.to_items = sides
        self.learned = options.learned_ids
        self.tower = None
        if name in options.reduced:
            self.tower = FeatureTower(
                inputs.rank(name, features),
                options.reduced_size,
                precision=inputs.precision,
                generator=generator,
            )
            nn.init.kaiming_uniform_(self.tower.first.weight, a=math.sqrt(5), generator=generator)  # as nn.Linear has
        else:
            self.register_buffer("features", features, persistent=False)
        width = options.reduced_size if self.tower else features.shape[1]  # F_m from here on
        preference = nn.init.xavier_normal_(torch.empty(inputs.num_users, width), generator=generator)
        _add(self, "preference", preference, self.learned)
        self.first, self.second, self.third = (Layer(size, dim, generator) for size in (width, dim, dim))
        nn.init.xavier_normal_(self.first.join.weight, generator=generator)  # the others keep nn.Linear's
        self._constants: dict[str, Tensor] = {}
        self.register_load_state_dict_post_hook(lambda module, _: module._constants.clear())

    def forward(self, graph: CSRGraph, ids: Tensor, nodes: Tensor | None) -> Tensor:
        """(rows, D) representations of ``nodes``, or (N, D) of all; ``graph`` (N, N), ``ids`` (N, D)."""
        x = self._first_layer(ids)
        x = self.second(x, spmm(graph, x) @ self.second.weight, ids)
        mean = spmm(graph, x)
        if nodes is not None:
            x, mean, ids = (F.embedding(nodes, table) for table in (x, mean, ids))
        return self.third(x, mean @ self.third.weight, ids)

    def _first_layer(self, ids: Tensor) -> Tensor:
        """(N, D) from preferences of users and features of items, L2-normalised."""
        still_users, still_items = not self.learned, self.tower is None
        users = self._once("users", still_users, lambda: normalize_rows(self.preference))  # (U, F)
        items = self._once(
            "items", still_items, lambda: normalize_rows(self.features if self.tower is None else self.tower())
        )  # (I, F)
        own_ids = ids.split([users.shape[0], items.shape[0]])
        hears_items = self._messages("to users", self.to_users, items, still_items, self.first.weight)
        hears_users = self._messages("to items", self.to_items, users, still_users, self.first.weight)
        return torch.cat([self.first(users, hears_items, own_ids[0]), self.first(items, hears_users, own_ids[1])])

    def _messages(self, name: str, graph: CSRGraph, x: Tensor, still: bool, weight: Tensor) -> Tensor:
        """(R, F) A x W for a graph (R, C), the dense product on whichever side has fewer rows."""
        if graph.shape[1] < graph.shape[0]:
            return spmm(graph, x @ weight)
        return self._once(name, still, lambda: spmm(graph, x)) @ weight

    def _once(self, name: str, still: bool, make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` gives, kept where it is ``still``: where nothing that is learned enters."""
        if not still:
            return make()
        if name not in self._constants:
            with torch.no_grad():
                self._constants[name] = make()
        return self._constants[name]

    def _apply(self, fn, recurse=True):
        self._constants.clear()  # another device or type
        return super()._apply(fn, recurse)


class Layer(nn.Module):
    """Aggregation and combination: W, the transformation of a node's own row, and the one of the concatenation."""

    def __init__(self, width: int, dim: int, generator: torch.Generator):
        """From ``width`` to ``dim`` numbers a node."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width))
        nn.init.xavier_normal_(self.weight, generator=generator)
        self.own = linear(width, dim, generator)
        nn.init.xavier_normal_(self.own.weight, generator=generator)
        self.join = linear(width + dim, dim, generator)

    def forward(self, x: Tensor, messages: Tensor, ids: Tensor) -> Tensor:
        """(R, D) from a node's row x (R, F), its neighbours' mean times W (R, F), and its id embedding (R, D)."""
        h = F.leaky_relu(messages, inplace=True)  # aggregation: LeakyReLU(mean over neighbours of W x)
        x_hat = F.leaky_relu(self.own(x), inplace=True) + ids
        of_h, of_x_hat = self.join.weight.split([h.shape[1], ids.shape[1]], dim=1)
        # W [h | x_hat] without writing the concatenation, which is the widest matrix here.
        joined = F.linear(h, of_h, self.join.bias).addmm_(x_hat, of_x_hat.T)
        return F.leaky_relu(joined, inplace=True)


def mean_graph(graph: CSRGraph) -> CSRGraph:
    """D^-1 A: each row the mean over its neighbours, whatever values A has; its own in float64."""
    values = graph.degrees().double().reciprocal()[graph.rows().long()]
    return CSRGraph(graph.rowptr, graph.columns, graph.shape, values, checked=True)


def _add(module: nn.Module, name: str, value: Tensor, learned: bool) -> None:
    """A parameter, or the same numbers left as they were drawn."""
    if learned:
        module.register_parameter(name, nn.Parameter(value))
    else:
        module.register_buffer(name, value)
