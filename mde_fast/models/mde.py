"""MDE: modality discrimination enhancement for multi-modal recommendation (2025), from the operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..kernels import CSRGraph, infonce, propagate, spmm_blocks
from ..kernels.node_losses import difference_weight
from ..kernels.objective import by_kind
from ..nn.by_columns import normalize_rows_with_norms, objective, vector_norm
from ..nn.factors import Factors
from ..nn.preferences import Preferences
from ..nn.towers import feature_towers
from ..options import Options, Range, at_least, option, positive
from ..world import ALONE, Part, World
from .model import Batch, HasPreferences, Inputs, Model


def _check_nlt(value: str) -> str | None:
    if value in ("preference", "none", "free"):
        return None
    kind, _, share = value.partition(":")
    try:
        if kind == "fixed" and 0 <= float(share) <= 1:
            return None
    except ValueError:
        pass
    return "choose preference, none, free, or fixed:C with C between 0 and 1"


COEFFICIENT = Range(0.0001, 1, log=True)  # what a search tries for a and b


@dataclass(frozen=True)
class MDEOptions(Options):
    """What the paper says is plain; what it leaves open says so ("our choice", "inferred")."""

    owner: ClassVar[str] = "mde"
    mmrec_ignored: ClassVar[Mapping[str, str]] = {
        "n_mm_layers": "one layer on the item graphs, as in the paper",
        "aggr_mode": "messages are added",
    }

    embedding_size: int = option(
        64, "d, dimensions of a modality's embedding", mmrec=("feat_embed_dim",), check=at_least(1)
    )
    projection: str = option("mlp", "item tower: Linear-LeakyReLU-Linear or one Linear", choices=("mlp", "linear"))
    projection_hidden: int = option(256, "hidden width of the mlp tower", check=at_least(1))
    row_normalize: bool = option(True, "L2-normalise the rows of E(0) (inferred: eq. 6 needs it)")
    input_scale: float = option(
        1.0, "multiplies E(0) after normalisation (our choice)", check=positive, search=Range(0.3, 10, log=True)
    )
    n_layers: int = option(2, "L, LightGCN layers on the user-item graph", mmrec=("n_ui_layers",), check=at_least(0))
    layer_combine: str = option(
        "sum",
        "combine layers 0..L: the paper's mean (eq. 3), or DRAGON's sum",
        choices=("mean", "sum"),
        search=("sum", "mean"),
    )
    user_k: int = option(40, "neighbours in the user co-occurrence graph", check=at_least(1))
    knn_k: int = option(10, "neighbours in each item-item graph", mmrec=("item_k",), check=at_least(1))
    item_graph: str = option(
        "per_modality",
        "an item graph per modality (the paper), or DRAGON's weighted sum for all",
        choices=("per_modality", "blend"),
        search=("per_modality", "blend"),
    )
    blend_weights: tuple[float, ...] = option(
        (),
        "weight of each modality's graph under blend; default 0.1 for image and 0.9 for text, else equal",
        mmrec={"mm_image_weight": lambda image: (float(image), 1 - float(image))},
    )
    fusion: str = option(
        "concat",
        "eq. 5: concatenate or add the weighted modalities (inferred)",
        choices=("concat", "sum"),
        search=("concat", "sum"),
    )
    fusion_nodes: str = option(
        "all", "whose modalities are weighted: all nodes (the paper) or users (DRAGON)", choices=("all", "users")
    )
    preference_init: str = option(
        "xavier", "initial preferences W (our choice)", choices=("xavier", "zero"), search=("xavier", "zero")
    )
    nlt: str = option(
        "preference",
        "eq. 8: preference; none = 1/2 everywhere; fixed:C = preference C for text everywhere (variant A); "
        "free = a free weight per node (variant B)",
        check=_check_nlt,
    )
    nlt_detach: bool = option(True, "keep MDA and MSA from moving the preferences (our choice)", search=(True, False))
    mda: str = option(
        "row_l2",
        "form of eq. 6 (arrangement inferred)",
        choices=("row_l2", "fro", "abs_cos"),
        search=("row_l2", "fro", "abs_cos"),
    )
    msa: str = option(
        "cosine", "form of eq. 7 (our choice)", choices=("cosine", "infonce"), search=("cosine", "infonce")
    )
    mda_weight: float = option(
        0.01, "a, coefficient of MDA; 0 leaves it out", mmrec=("a",), check=at_least(0), search=COEFFICIENT
    )
    msa_weight: float = option(
        0.01, "b, coefficient of MSA; 0 leaves it out", mmrec=("b",), check=at_least(0), search=COEFFICIENT
    )
    temperature: float = option(0.2, "tau of infonce", mmrec=("tau",), check=positive)
    reg_weight: float = option(
        0.001, "lambda of eq. 11", mmrec=("lambda",), check=at_least(0), search=Range(0.000001, 0.1, log=True)
    )
    modality_losses: bool = option(True, "eq. 10: BPR of each modality beside the fused one", search=(True, False))


@dataclass(frozen=True)
class MDEGraphs:
    """Attributes:
    user_item: (U + I, U + I), symmetric, users first (eq. 2).
    user_user: (U, U) co-occurrence (eq. 4).
    item_item: (I * M, I * M) for one graph per modality, row ``i * M + m`` being modality m of item i, or (I, I) for
        one graph shared by all modalities (eq. 4).
    """

    user_item: CSRGraph
    user_user: CSRGraph
    item_item: CSRGraph


class MDE(Model[MDEOptions], HasPreferences):
    """The model of the paper: towers, three graphs, preferences, and the losses of eq. 11."""

    weights: Tensor  # (M + 4,) coefficients of the parts

    title = "MDE (2025): modality discrimination enhancement"
    Options = MDEOptions
    node_tables = ("user_table",)
    min_modalities = 2
    by_columns = True

    def __init__(
        self,
        options: MDEOptions,
        features: Mapping[str, Tensor | Factors],
        graphs: MDEGraphs,
        precision: str,
        generator: torch.Generator,
        world: World = ALONE,
    ):
        """
        Args:
            options: the model's options.
            features: modality -> (I, F_m) or their factors, two modalities or more.
            graphs: the dataset's graphs.
            precision: of the towers' products.
            generator: of the initial parameters.
            world: the processes that have the columns.
        """
        super().__init__()
        self.options, self.world = options, world
        self.graphs = graphs
        self.modalities = tuple(features)
        self.num_items = next(iter(features.values())).shape[0]
        self.num_users = graphs.user_item.shape[0] - self.num_items
        users = torch.empty(self.num_users, len(features), options.embedding_size)
        for modality in range(len(features)):
            nn.init.xavier_normal_(users[:, modality], generator=generator)
        world.columns(options.embedding_size)
        self.user_table = world.parameter(users, Part(2))
        self.towers = feature_towers(
            features,
            options.embedding_size,
            hidden=options.projection_hidden if options.projection == "mlp" else None,
            precision=precision,
            generator=generator,
            world=world,
        )
        self.preferences = Preferences(
            self.num_users,
            self.num_items,
            self.modalities,
            nlt=options.nlt,
            fusion_nodes=options.fusion_nodes,
            initial=options.preference_init,
            generator=generator,
        )
        self.part_names = ("bpr", *(f"bpr_{name}" for name in features), "mda", "msa", "regulariser")
        coefficients = options.mda_weight, options.msa_weight, options.reg_weight
        of_modalities = [float(options.modality_losses)] * len(features)
        self.register_buffer("weights", torch.tensor([1.0, *of_modalities, *coefficients]), persistent=False)

    @classmethod
    def build(cls, options: MDEOptions, inputs: Inputs) -> MDE:
        weights = _blend_weights(options, tuple(inputs.features))
        store = inputs.graphs
        graphs = MDEGraphs(
            user_item=store.user_item(),
            user_user=store.co_occurrence(options.user_k),
            item_item=store.blended_item_graph(options.knn_k, weights)
            if options.item_graph == "blend"
            else store.item_graphs(options.knn_k),
        )
        return cls(options, inputs.frozen_features(), graphs, inputs.precision, inputs.generator, inputs.world)

    def encode(self) -> tuple[Tensor, Tensor]:
        """H of eq. 4: (U, M, D) and (I, M, D)."""
        h_users, h_items, _ = self._encode()
        return h_users, h_items

    def _encode(self) -> tuple[Tensor, Tensor, Tensor]:
        """H of eq. 4, and norms of rows, the user table's first: (U or more, M)."""
        options, graphs = self.options, self.graphs
        shape = self.user_table.shape[1:]  # (M, D)
        inputs, norms = self._inputs([tower() for tower in self.towers])
        layers = propagate(graphs.user_item, inputs.flatten(1), layers=options.n_layers, combine=options.layer_combine)
        sides = self.num_users, self.num_items
        users, items = spmm_blocks((graphs.user_user, graphs.item_item), layers, sides)
        return users.unflatten(1, shape), items.reshape(self.num_items, *shape), norms

    def _inputs(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """E(0) (U + I, M, D) from the M towers' (I, D), and norms of rows, the user table's first."""
        scale, items = self.options.input_scale, [own.to(self.user_table.dtype) for own in items]
        if self.options.row_normalize:
            return normalize_rows_with_norms(self.world, self.user_table, items, scale=scale)
        inputs = torch.cat([self.user_table, torch.stack(items, dim=1)])
        return inputs * scale if scale != 1 else inputs, vector_norm(self.world, self.user_table, -1)

    def loss_parts(self, batch: Batch) -> Tensor:
        """The addends of eq. 11, each with its coefficient."""
        options, preferences = self.options, self.preferences
        h_users, h_items, norms = self._encode()
        parts = objective(
            self.world,
            h_users,
            h_items,
            norms,
            batch.users,
            batch.positives,
            batch.negatives,
            self.weights,
            user_logits=preferences.users,
            item_logits=preferences.items,
            user_trade=preferences.trade_off("users"),
            item_trade=preferences.trade_off("items"),
            detach=options.nlt_detach,
            fuse_items=preferences.fuse_items,
            shrink=preferences.learned,
            fusion=options.fusion,
            mda=options.mda if options.mda_weight else "none",
            msa=options.msa if options.msa == "cosine" and options.msa_weight else "none",
        )
        if options.msa == "cosine" or not options.msa_weight:
            return parts
        contrast = self._contrast(h_users, "users", batch.users) + self._contrast(h_items, "items", batch.positives)
        return torch.cat([parts[:-2], (options.msa_weight * contrast)[None], parts[-1:]])

    def _contrast(self, h: Tensor, side: str, nodes: Tensor) -> Tensor:
        """InfoNCE over the batch's nodes, weighted by w_sim = 1 - w_dif (eq. 7)."""
        preference, free = by_kind(self.preferences.trade_off(side))
        w_dif = difference_weight(
            h.shape[0], preference_logits=preference, free_logits=free, detach=self.options.nlt_detach, like=h
        )
        rows = self.world.all_columns(F.embedding(nodes, h.flatten(1)).unflatten(1, h.shape[1:]))
        return infonce(rows, weight=1 - w_dif[nodes], nodes=nodes, temperature=self.options.temperature)

    def preference_values(self) -> tuple[Tensor, Tensor]:
        return self.preferences.values()

    def preference_notes(self) -> tuple[str, ...]:
        options, kind = self.options, self.options.nlt.partition(":")[0]
        if kind == "fixed":
            return (f"Preferences were not learned: nlt {options.nlt} sets them, the same at every node.",)
        notes = []
        weighed = {"none": "by 1/2 everywhere", "free": "by a free weight per node"}.get(kind)
        if weighed:
            notes.append(f"MDA and MSA are weighed {weighed} (nlt {options.nlt}), not by these preferences.")
        if options.fusion_nodes == "users":
            moved = kind == "preference" and not options.nlt_detach and (options.mda_weight or options.msa_weight)
            notes.append(
                "Preferences of items do not enter the fusion (fusion_nodes users): "
                + ("only MDA and MSA move them." if moved else "they are what they were drawn as, shrunk.")
            )
        return tuple(notes)

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Fused embeddings of eq. 5 for ranking: (U, E) and (I, E), E = M * D, or D for ``fusion="sum"``."""
        h_users, h_items = self.encode()
        return (
            self._fuse(h_users, self.preferences.user_logits()),
            self._fuse(h_items, self.preferences.item_fusion_logits()),
        )

    def _fuse(self, h: Tensor, logits: Tensor | None) -> Tensor:
        if logits is not None:
            h = torch.softmax(logits, dim=1)[:, :, None] * h
        return h.flatten(1) if self.options.fusion == "concat" else h.sum(1)


def _blend_weights(options: MDEOptions, modalities: tuple[str, ...]) -> tuple[float, ...]:
    """The weight of each modality's item graph under ``item_graph: blend``."""
    if options.blend_weights:
        if len(options.blend_weights) != len(modalities):
            raise InputError(
                f"blend_weights: {len(options.blend_weights)} weights for {len(modalities)} modalities "
                f"({', '.join(modalities)})"
            )
        return options.blend_weights
    if modalities == ("image", "text"):
        return 0.1, 0.9  # DRAGON's
    return (1 / len(modalities),) * len(modalities)
