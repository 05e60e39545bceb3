"""Ground truth of project_rows: the linear layer it stands for, exact in its weight's type."""

from torch import Tensor


def project_rows_reference(
    features: Tensor, items: Tensor | None, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    rows = features if items is None else features[items]
    projected = rows.to(weight.dtype) @ weight.T
    return projected if bias is None else projected + bias
