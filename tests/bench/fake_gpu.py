"""A GPU of Python's: a clock, and graphs that record what would have been launched."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

from torch.utils._python_dispatch import TorchDispatchMode

LAUNCH = 5.0  # milliseconds that Python and the driver take for a call
REPLAY = 1.0  # and for a graph


class FakeGPU:
    """Put in the place of ``torch.cuda``'s functions by :meth:`install`.

    Attributes:
        clock: milliseconds. log: names of kernels in the order in which they ran. broken: the reason of a capture that
            cannot go on.
    """

    def __init__(self):
        self.clock, self.log, self.capturing, self.broken, self.stream = 0.0, [], None, None, "default"
        self.closed_pools = []

    def install(self, patch) -> FakeGPU:
        gpu = self

        class Event:
            def __init__(self, enable_timing):
                self.at = None

            def record(self):
                self.at = gpu.clock

            def elapsed_time(self, end):
                return end.at - self.at

        class Graph:
            def __init__(self):
                self.work, self.ended = [], False

            def pool(self):
                if not self.ended:
                    raise RuntimeError("pool() without a preceding successful capture")
                return "a pool"

            def replay(self):
                gpu.clock += REPLAY
                for run in self.work:
                    run()

        class Record(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
                gpu.capturing.work.append(lambda: function(*arguments, **(keywords or {})))
                return arguments[0]

        @contextmanager
        def graph(target, pool=None):
            gpu.capturing, before, gpu.stream = target, gpu.stream, "capture"
            try:
                with Record():
                    yield
            finally:
                gpu.capturing = None
                if gpu.broken is not None:
                    gpu.broken = None
                    raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
            target.ended, gpu.stream = True, before

        @contextmanager
        def stream(which):
            before, gpu.stream = gpu.stream, which.name
            try:
                yield
            finally:
                gpu.stream = before

        class Stream:
            def __init__(self, device=None, name="side"):
                self.name = name

            def wait_stream(self, other):
                assert isinstance(other, Stream)

        functions = {
            "Event": Event,
            "CUDAGraph": Graph,
            "graph": graph,
            "stream": stream,
            "Stream": Stream,
            "current_stream": lambda device=None: Stream(name=self.stream),
            "device": lambda device: nullcontext(),
            "synchronize": lambda device=None: None,
            "graph_pool_handle": lambda: "a pool",
            "memory._cuda_endAllocateToPool": lambda device, pool: self.closed_pools.append(pool),
            "memory._cuda_releasePool": lambda device, pool: self.closed_pools.append(pool),
        }
        for name, function in functions.items():
            patch.setattr(f"torch.cuda.{name}", function)
        return self

    def kernel(self, name: str, milliseconds: float):
        """A variant of one kernel."""

        def on_the_device():
            self.clock += milliseconds
            self.log.append(name)

        def call():
            if self.capturing is not None:
                self.capturing.work.append(on_the_device)
                return
            self.clock += LAUNCH
            on_the_device()

        return call

    def unrecordable(self, name: str, milliseconds: float, reason: str):
        """A variant that waits for the device."""
        run = self.kernel(name, milliseconds)

        def call():
            if self.capturing is not None:
                self.broken = reason
                raise RuntimeError(reason + "\nand a hint that nobody needs")
            run()

        return call
