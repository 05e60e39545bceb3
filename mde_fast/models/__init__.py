"""Models by the name that the option ``model`` gives them.

A model is made by ``from_dataset(config, dataset, device, cache)`` and keeps the promise of
:mod:`mde_fast.training.trainer`; ``needs_features`` says whether it looks at item content.
"""

from .lightgcn import LightGCN
from .mde import MDE

MODELS = {"mde": MDE, "lightgcn": LightGCN}
