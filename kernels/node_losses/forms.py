"""The forms of equations 6 and 7, and which scalars of a node each of them takes."""

from __future__ import annotations

MDA_FORMS = ("row_l2", "fro", "abs_cos", "none")
MSA_FORMS = ("cosine", "none")
COSINE_EPS = 1e-8  # the smallest norm a cosine divides by, as in torch.nn.functional.cosine_similarity


def needs_cosines(mda: str, msa: str) -> bool:
    return mda == "abs_cos" or msa == "cosine"


def needs_distances(mda: str) -> bool:
    return mda in ("row_l2", "fro")
