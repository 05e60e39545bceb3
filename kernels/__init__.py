"""The operators under every model: tensors in, tensors out, no knowledge of datasets or training.

========================  =====================================  ==========================
what the paper calls it   operator                               folder
========================  =====================================  ==========================
E(0)      inputs          :func:`normalize_rows`                ``kernels/normalize_rows``
eq. 2, 3  LightGCN        :func:`propagate`                      ``kernels/propagate``
eq. 4     graph convol.   :func:`spmm`, :func:`spmm_blocks`      ``kernels/spmm``
attention over edges      :func:`edge_dots`, ``edge_softmax``,   ``kernels/edges``
                          ``source_rows``
eq. 6-8   MDA, MSA, NLT   :func:`node_losses`                    ``kernels/node_losses``
eq. 7     contrastive     :func:`infonce`                        ``kernels/infonce``
eq. 5, 9, 10  BPR         :func:`bpr`                            ``kernels/bpr``
eq. 11    all of them     :func:`objective`                      ``kernels/objective``
ranking                   :func:`topk`                           ``kernels/topk``
eq. 9     negatives       :func:`sample_negatives`               ``kernels/negatives``
bootstrap losses          :func:`cosine_losses`                  ``kernels/cosine_losses``
dropout                   :func:`dropout`                        ``kernels/dropout``
projected content         :func:`project_rows`                   ``kernels/project_rows``
Adam                      :func:`adam_step`                      ``kernels/adam``
========================  =====================================  ==========================

Each folder has the same furniture: ``reference.py`` is the frozen ground truth in plain PyTorch, ``cpu.py`` the CPU
path in PyTorch calls, ``native.cpp`` its kernels in C++ with their launchers in ``native.py`` (where they gain),
``triton_kernels.py`` the GPU kernels with their launchers, ``primitives.py`` the registered steps that choose between
these, and ``__init__.py`` the autograd function and the public one, which checks its arguments.
``propagate`` is made of spmm's steps and needs fewer files. :mod:`mde_fast.kernels.dispatch` decides what runs where;
``support.py`` and, for kernels, ``triton_support.py`` hold what operators share.
"""

from .adam import adam_step
from .bpr import bpr
from .cosine_losses import cosine_losses
from .csr import CSRGraph
from .dropout import dropout
from .edges import edge_dots, edge_softmax, source_rows
from .infonce import infonce
from .negatives import NegativeTable, negatives_from_bits, random_bits, sample_negatives
from .node_losses import node_losses
from .normalize_rows import normalize_rows, normalize_rows_with_norms
from .objective import objective
from .project_rows import project_rows
from .propagate import propagate
from .spmm import spmm, spmm_blocks
from .topk import topk

__all__ = [
    "CSRGraph",
    "NegativeTable",
    "adam_step",
    "bpr",
    "cosine_losses",
    "dropout",
    "edge_dots",
    "edge_softmax",
    "infonce",
    "negatives_from_bits",
    "node_losses",
    "normalize_rows",
    "normalize_rows_with_norms",
    "objective",
    "project_rows",
    "propagate",
    "random_bits",
    "sample_negatives",
    "source_rows",
    "spmm",
    "spmm_blocks",
    "topk",
]
