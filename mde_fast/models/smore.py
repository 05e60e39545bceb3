"""SMORE (Ong and Khong, WSDM 2025): modalities are denoised and fused in the spectrum of their projections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import dropout, propagate
from ..nn.content_views import content_views, view_losses
from ..nn.linear import linear
from ..nn.tables import node_table
from ..options import Options, at_least, option, positive, share_left_out
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class SMOREOptions(Options):
    """As in MMRec, whose grid is what searches try; its first values are the defaults, but reg_weight's."""

    owner: ClassVar[str] = "smore"
    mmrec_ignored: ClassVar = {"lambda_coeff": "never read by the published code"}

    embedding_size: int = option(64, "d, dimensions of an embedding", check=at_least(1))
    n_ui_layers: int = option(3, "layers on the user-item graph", check=at_least(0), search=(3, 4))
    n_layers: int = option(1, "layers on each view's item graph", check=at_least(0))
    image_knn_k: int = option(10, "neighbours in the image's item graph", check=at_least(1), search=(10, 15, 20, 40))
    text_knn_k: int = option(10, "neighbours in the text's item graph", check=at_least(1), search=(10, 15, 20, 40))
    knn_k: int = option(10, "neighbours in another modality's item graph", check=at_least(1))
    cl_loss: float = option(0.01, "of the contrast of content with behaviour", check=at_least(0))
    temperature: float = option(0.2, "tau of that contrast", check=positive)
    dropout_rate: float = option(
        0.0, "share of the preferences' numbers that a step leaves out", check=share_left_out, search=(0.0, 0.1)
    )
    reg_weight: float = option(
        0.0001, "of half the squared norms of a triple's embeddings", check=at_least(0), search=(1e-5, 1e-4)
    )
    train_features: bool = option(True, "learn the items' raw features too, as the published code does")

    def neighbours(self, modality: str) -> int:
        """k of a modality's item graph."""
        return {"image": self.image_knn_k, "text": self.text_knn_k}.get(modality, self.knn_k)


class SMORE(Model[SMOREOptions]):
    """Behaviour (LightGCN), and V = M + 1 views of content: each modality's own, and one of all of them.

    U users, I items, N = U + I nodes, M modalities; the fused view is the last. Of what graphs give, rows are made into
    embeddings one by one, so in a step those of the batch alone.
    """

    title = "SMORE (2025): modalities denoised and fused in their spectrum"
    Options = SMOREOptions
    min_modalities = 2
    part_names = ("bpr", "contrast", "regulariser")

    def __init__(self, options: SMOREOptions, inputs: Inputs):
        super().__init__()
        self.options, graphs, modalities = options, inputs.graphs, tuple(inputs.features)
        self.user_item, self.from_items = graphs.user_item(), graphs.normalised_interactions()
        self.item_item = graphs.cosine_item_graphs(tuple(map(options.neighbours, modalities)), strongest=True)
        self.num_users, self.num_items = inputs.num_users, inputs.num_items
        width, generator = options.embedding_size, inputs.generator
        self.table = node_table(self.num_users, self.num_items, width, generator)
        self.towers = inputs.towers(width, trained=options.train_features, initial="pytorch")

        def layers(count: int, *, bias: bool = True) -> nn.ModuleList:
            return nn.ModuleList(linear(width, width, generator, bias=bias) for _ in range(count))

        count = len(modalities)
        self.purifiers, self.preferences = layers(count + 1), layers(count + 1)
        self.queries, self.attention = layers(count), layers(count, bias=False)
        spectrum = 1, width // 2 + 1, 2  # complex numbers
        self.filters = nn.ParameterList(torch.randn(spectrum, generator=generator) for _ in range(count + 1))

    @classmethod
    def build(cls, options: SMOREOptions, inputs: Inputs) -> SMORE:
        return cls(options, inputs)

    def denoised(self) -> list[Tensor]:
        """Of each view (I, d): spectra are filtered number by number, for the fused one the product of all."""
        width = self.options.embedding_size
        spectra = [torch.fft.rfft(tower(), dim=1, norm="ortho") for tower in self.towers]
        fused = spectra[0]
        for spectrum in spectra[1:]:
            fused = fused * spectrum
        return [
            torch.fft.irfft(spectrum * torch.view_as_complex(kept), n=width, dim=1, norm="ortho")
            for spectrum, kept in zip([*spectra, fused], self.filters)
        ]

    def views(self) -> tuple[Tensor, Tensor]:
        """What graphs give: behaviour (N, d) and content (N, V, d)."""
        ids = self.table[self.num_users :]
        purified = [ids * torch.sigmoid(gate(view)) for gate, view in zip(self.purifiers, self.denoised())]
        content = content_views(torch.stack(purified, dim=1), self.item_item, self.from_items, self.options.n_layers)
        behaviour = propagate(self.user_item, self.table, layers=self.options.n_ui_layers, combine="mean")
        return behaviour, content

    def side(self, behaviour: Tensor, content: Tensor, batch: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(n, d) what is added to the behaviour (n, d) of some nodes, from their content (n, V, d).

        Args:
            batch: of a step, its seed () and the nodes' numbers (n,), by which preferences are dropped.
        """
        *own, fused = content.unbind(1)
        for number, (query, attention) in enumerate(zip(self.queries, self.attention)):
            own[number] = torch.softmax(attention(torch.tanh(query(fused))), dim=1) * own[number]
        total = torch.zeros_like(fused)
        for number, (gate, view) in enumerate(zip(self.preferences, (*own, fused))):
            preferred = torch.sigmoid(gate(behaviour))
            if batch is not None and self.options.dropout_rate:
                seed, nodes = batch
                preferred = dropout(preferred, self.options.dropout_rate, seed, stream=number, rows=nodes)
            total = total + preferred * view
        return total / content.shape[1]

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR, the contrast of both sides' content with behaviour, and half the squared norms of a triple."""
        nodes = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        behaviour, content = (F.embedding(nodes, view.flatten(1)).view(-1, *view.shape[1:]) for view in self.views())
        return view_losses(behaviour, self.side(behaviour, content, (batch.bits[0], nodes)), self.options)

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """(U, d) and (I, d), with nothing dropped."""
        behaviour, content = self.views()
        users, items = (behaviour + self.side(behaviour, content)).split([self.num_users, self.num_items])
        return users, items
