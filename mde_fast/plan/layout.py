"""What a step of a model consists of, as numbers: tables, towers, graphs, and sums over processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import InputError
from ..models.dragon import DRAGONOptions
from ..models.freedom import FREEDOMOptions
from ..models.lightgcn import LightGCNOptions
from ..models.mde import MDEOptions
from ..models.vbpr import VBPROptions
from ..options import Options


@dataclass(frozen=True)
class Sizes:
    """Of a dataset and a step.

    Attributes:
        users, items, interactions: U, I and E, of training.
        features: F_m, columns of each modality's features.
        batch: B, triples of a step.
    """

    users: int
    items: int
    interactions: int
    features: tuple[int, ...]
    batch: int

    @property
    def nodes(self) -> int:
        """N = U + I."""
        return self.users + self.items


@dataclass(frozen=True)
class Tower:
    """Layers (F, hidden) and (hidden, D), or (F, D) where ``hidden`` is 0, and biases."""

    inputs: int
    hidden: int
    outputs: int

    @property
    def parameters(self) -> int:
        if not self.hidden:
            return (self.inputs + 1) * self.outputs
        return (self.inputs + 1) * self.hidden + (self.hidden + 1) * self.outputs


@dataclass(frozen=True)
class Graph:
    """``edges`` at most, ``rows``, whether it is its own transpose and so has no values, and how often a step takes it.

    Attributes:
        width: columns of all processes that its messages have.
        passes: row sums over its edges on the way forward; there are as many on the way back.
    """

    edges: int
    rows: int
    symmetric: bool
    width: int
    passes: int


@dataclass(frozen=True)
class Layout:
    """A model at a size.

    Attributes:
        tables: numbers of parameters that are divided by columns.
        width: columns of a node's row in messages, of all processes together.
        alike: numbers of parameters that every process has, without towers.
        towers: of each modality. whole: that a step projects all items, else the 2 B of a batch.
        learns_features: that features are parameters, too.
        graphs: that a step takes.
        arrays: how many arrays (N, width) one process holds at a step's peak beside table and gradient; an estimate.
        sums: part -> numbers of each sum over processes.
        gathered: part -> numbers of each message in which every process gets the others' columns.
    """

    tables: int
    width: int
    alike: int = 0
    towers: tuple[Tower, ...] = ()
    whole: bool = False
    learns_features: bool = False
    graphs: tuple[Graph, ...] = ()
    arrays: int = 0
    sums: dict[str, tuple[int, ...]] = field(default_factory=dict)
    gathered: dict[str, tuple[int, ...]] = field(default_factory=dict)


def layout_of(model: str, options: Options, sizes: Sizes) -> Layout:
    """The layout of a model with its options.

    Raises:
        InputError: there are no formulas for it.
    """
    if model not in LAYOUTS:
        raise InputError(f"{model}: there are no formulas for it; choose {', '.join(LAYOUTS)}")
    return LAYOUTS[model](options, sizes)


def _user_item(sizes: Sizes, width: int, layers: int) -> Graph:
    return Graph(2 * sizes.interactions, sizes.nodes, True, width, layers)


def _lightgcn(options: LightGCNOptions, sizes: Sizes) -> Layout:
    width = options.embedding_size
    return Layout(
        tables=sizes.nodes * width,
        width=width,
        graphs=(_user_item(sizes, width, options.n_layers),),
        arrays=4,
        sums={"losses": (sizes.batch, 1)},
    )


def _vbpr(options: VBPROptions, sizes: Sizes) -> Layout:
    width = options.embedding_size
    return Layout(
        tables=(2 * sizes.users + sizes.items) * width,
        width=2 * width,
        towers=(Tower(sum(sizes.features), 0, width),),
        arrays=0,
        sums={"losses": (sizes.batch, 3 if options.regulariser == "norms" else 1)},
    )


def _freedom(options: FREEDOMOptions, sizes: Sizes) -> Layout:
    width, modalities = options.embedding_size, len(sizes.features)
    item_item = Graph(modalities * options.knn_k * sizes.items, sizes.items, False, width, options.item_layers)
    return Layout(
        tables=sizes.nodes * width,
        width=width,
        towers=tuple(Tower(columns, 0, width) for columns in sizes.features),
        learns_features=options.train_features,
        graphs=(_user_item(sizes, width, options.n_layers), item_item),
        arrays=4,
        sums={"losses": (sizes.batch,) * (1 + modalities)},
    )


def _dragon(options: DRAGONOptions, sizes: Sizes) -> Layout:
    modalities = len(sizes.features)
    width = modalities * options.embedding_size
    item_item = Graph(modalities * options.knn_k * sizes.items, sizes.items, False, width, options.n_mm_layers)
    weights = sizes.users * modalities
    return Layout(
        tables=sizes.users * width,
        width=width,
        alike=weights,
        towers=tuple(Tower(columns, options.projection_hidden, options.embedding_size) for columns in sizes.features),
        whole=True,
        graphs=(_user_item(sizes, width, options.n_layers), item_item),
        arrays=7,
        sums={
            "rows' norms": (sizes.nodes * modalities,) * 2,
            "users' weights": (weights,) if modalities > 1 else (),
            "losses": (sizes.batch * modalities,),
        },
    )


def _mde(options: MDEOptions, sizes: Sizes) -> Layout:
    modalities, each = len(sizes.features), options.embedding_size
    width, pairs, batch = modalities * each, modalities * (modalities - 1) // 2, sizes.batch
    user_user = Graph(options.user_k * sizes.users, sizes.users, False, width, 1)
    blended = options.item_graph == "blend"
    item_edges = modalities * options.knn_k * sizes.items
    item_item = Graph(item_edges, sizes.items * (1 if blended else modalities), False, width if blended else each, 1)
    mda = options.mda if options.mda_weight else "none"
    msa = options.msa if options.msa_weight else "none"
    scalars = (modalities + pairs) * (mda == "abs_cos" or msa == "cosine") + pairs * (mda in ("row_l2", "fro"))
    scores = batch * modalities
    if options.fusion == "sum":
        scores *= 2 * modalities
    elif options.fusion_nodes == "all":
        scores *= 2
    norms = (sizes.nodes * modalities,) * 2 if options.row_normalize else (sizes.users * modalities,)
    hidden = options.projection_hidden if options.projection == "mlp" else 0
    free = sizes.nodes if options.nlt == "free" else 0
    learned = 0 if options.nlt.startswith("fixed") else sizes.nodes * modalities
    return Layout(
        tables=sizes.users * width,
        width=width,
        alike=learned + free,
        towers=tuple(Tower(columns, hidden, each) for columns in sizes.features),
        whole=True,
        graphs=(_user_item(sizes, width, options.n_layers), user_user, item_item),
        arrays=8,
        sums={
            "rows' norms": norms,
            "node losses": (sizes.users * scalars, sizes.items * scalars) if scalars else (),
            "losses": (scores,),
        },
        gathered={"losses": (batch * width,) * 2 if msa == "infonce" else ()},
    )


LAYOUTS: dict[str, Callable[..., Layout]] = {
    "lightgcn": _lightgcn,
    "vbpr": _vbpr,
    "mde": _mde,
    "freedom": _freedom,
    "dragon": _dragon,
}
