"""Published figures, as facts to hold ours against. They were measured by their authors, on their split of the data."""

from __future__ import annotations

PAPER = "MDE: Modality Discrimination Enhancement for Multi-modal Recommendation (2025)"
MMREC = "the results table of MMRec, https://github.com/enoche/MMRec"

_TABLE_1_METRICS = ("recall@5", "precision@5", "map@5", "ndcg@5")
_TABLE_1 = {
    "VBPR": (0.0265, 0.0059, 0.0134, 0.0170, 0.0353, 0.0079, 0.0189, 0.0235, 0.0186, 0.0039, 0.0103, 0.0124),
    "MMGCN": (0.0240, 0.0053, 0.0130, 0.0160, 0.0216, 0.0049, 0.0114, 0.0143, 0.0130, 0.0028, 0.0073, 0.0088),
    "GRCN": (0.0336, 0.0074, 0.0182, 0.0225, 0.0360, 0.0080, 0.0196, 0.0241, 0.0269, 0.0056, 0.0140, 0.0173),
    "DualGNN": (0.0322, 0.0071, 0.0175, 0.0216, 0.0374, 0.0084, 0.0206, 0.0253, 0.0277, 0.0058, 0.0153, 0.0185),
    "SLMRec": (0.0343, 0.0075, 0.0182, 0.0226, 0.0429, 0.0095, 0.0233, 0.0288, 0.0292, 0.0061, 0.0163, 0.0196),
    "BM3": (0.0327, 0.0072, 0.0174, 0.0216, 0.0353, 0.0078, 0.0194, 0.0238, 0.0246, 0.0051, 0.0135, 0.0164),
    "FREEDOM": (0.0374, 0.0083, 0.0194, 0.0243, 0.0446, 0.0098, 0.0232, 0.0291, 0.0388, 0.0080, 0.0211, 0.0257),
    "DRAGON": (0.0374, 0.0082, 0.0202, 0.0249, 0.0449, 0.0098, 0.0239, 0.0296, 0.0401, 0.0083, 0.0225, 0.0270),
    "MDE": (0.0414, 0.0091, 0.0219, 0.0273, 0.0479, 0.0105, 0.0256, 0.0317, 0.0402, 0.0084, 0.0219, 0.0267),
}
_TABLE_2 = {
    "w/o MDA": (0.0392, 0.0444, 0.0386),
    "w/o MSA": (0.0394, 0.0454, 0.0394),
    "w/o NLT": (0.0385, 0.0443, 0.0373),
    "MDE": (0.0414, 0.0479, 0.0402),
}
_DATASETS = ("baby", "sports", "clothing")
_MMREC_METRICS = ("recall@20", "ndcg@20")
_MMREC_DATASETS = ("baby", "sports", "elec")
_MMREC = {
    "LightGCN": (0.0754, 0.0328, 0.0864, 0.0387, 0.0540, 0.0250),
    "VBPR": (0.0663, 0.0284, 0.0856, 0.0384, 0.0458, 0.0202),
    "MMGCN": (0.0615, 0.0261, 0.0605, 0.0254, 0.0343, 0.0146),
    "DualGNN": (0.0716, 0.0309, 0.0859, 0.0385, 0.0542, 0.0252),
    "GRCN": (0.0833, 0.0363, 0.0915, 0.0414, 0.0590, 0.0268),
    "BM3": (0.0883, 0.0383, 0.0980, 0.0438, 0.0648, 0.0302),
    "SLMRec": (0.0775, 0.0353, 0.0990, 0.0450, 0.0651, 0.0303),
    "FREEDOM": (0.0992, 0.0424, 0.1089, 0.0481, 0.0601, 0.0273),
}


def published_rows(experiment: str, dataset: str) -> list[dict]:
    """What was published of an experiment on a dataset: ``row``, ``source`` and its metrics; empty where nothing was.

    The paper shows Figure 2 without printing its numbers, so there are none to compare with.
    """
    if experiment == "table1":
        return [
            *_table_1(dataset, _DATASETS, _TABLE_1, _TABLE_1_METRICS, f"{PAPER}, Table I"),
            *_table_1(dataset, _MMREC_DATASETS, _MMREC, _MMREC_METRICS, MMREC),
        ]
    if experiment == "table2" and dataset in _DATASETS:
        place = _DATASETS.index(dataset)
        return [
            {"row": name, "source": f"{PAPER}, Table II", "metrics": {"recall@5": values[place]}}
            for name, values in _TABLE_2.items()
        ]
    return []


def _table_1(
    dataset: str, datasets: tuple[str, ...], table: dict[str, tuple], metrics: tuple[str, ...], source: str
) -> list[dict]:
    """The columns of one dataset of a table that has the metrics of each dataset side by side."""
    if dataset not in datasets:
        return []
    first = datasets.index(dataset) * len(metrics)
    return [
        {"row": name, "source": source, "metrics": dict(zip(metrics, values[first : first + len(metrics)]))}
        for name, values in table.items()
    ]
