"""Notes the matrix products of a GPU that need not be there: tensors without numbers stand for its own."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.mm.dtype, torch.ops.aten.addmm.default)


class Products(TorchDispatchMode):
    """``seen``: of each product its result's shape and type, and whether its sums may be rounded to bfloat16."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})
        if function in PRODUCTS:
            rounded = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
            self.seen.append((tuple(result.shape), result.dtype, rounded and result.dtype == torch.bfloat16))
        return result


@contextmanager
def on_a_gpu_without_numbers():
    """Yields the products that are made meanwhile. Autograd needs a real GPU: backward passes have to be called."""
    with torch.no_grad(), FakeTensorMode(), Products() as products:
        yield products
