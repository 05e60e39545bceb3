"""Options of the benchmarks and the record that goes with every result."""

from __future__ import annotations

import pytest
import torch

import bench.report
from bench.compiled import MODES
from bench.graphs import REAL, real_graph, synthetic_graph
from bench.machine import machine
from mde_fast.report.document import Document
from mde_fast.report.markdown import to_markdown
from mde_fast.training.memory import keep_freed_memory


def pytest_addoption(parser):
    group = parser.getgroup("mde_fast")
    group.addoption("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    group.addoption("--data-dir", default=None, help="where real datasets are; default as for training")
    group.addoption("--dataset", default="baby,clothing,ifashion,gowalla", help="real graphs to measure")
    group.addoption("--edges", default="100000,1000000", help="sizes of synthetic graphs, directed edges")
    group.addoption("--width", default="128", help="embedding widths, M * D")
    group.addoption("--seconds", default="2", help="time spent on each comparison")
    group.addoption("--threads", default=None, help="CPU threads; default: all")
    group.addoption("--mmrec", default=None, metavar="DIR", help="checkout of MMRec, to measure its models beside ours")
    group.addoption("--epochs", type=int, default=5, help="of a training from end to end")
    group.addoption("--no-compile", action="store_true", help="leave out torch.compile of the reference")
    group.addoption("--compile-modes", default=",".join(MODES), help="modes of torch.compile to measure on a GPU")


def pytest_configure(config):
    threads = config.getoption("--threads")
    if threads:
        torch.set_num_threads(int(threads))
    config.stash[bench.report.MODEL_ROWS] = []
    keep_freed_memory()  # as training does; the alternatives gain from it too


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[bench.report.MODEL_ROWS]
    if rows:
        terminalreporter.section("models")
        blocks = tuple(bench.report.model_blocks(rows))
        terminalreporter.write(to_markdown(Document("Training and evaluation", blocks, ())))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Benchmarks run one at a time in this process, where the tests are shared out."""
    return 0


@pytest.fixture(scope="session")
def device(request) -> torch.device:
    name = request.config.getoption("--device")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device(name)


@pytest.fixture(scope="session")
def seconds(request) -> float:
    return float(request.config.getoption("--seconds"))


@pytest.fixture(scope="session")
def compiled(request) -> tuple[str, ...]:
    """Modes of torch.compile to measure; on a CPU any stand for its default."""
    modes = tuple(request.config.getoption("--compile-modes").split(","))
    assert set(modes) <= set(MODES), f"--compile-modes: choose from {', '.join(MODES)}"
    return () if request.config.getoption("--no-compile") else modes


@pytest.fixture(scope="session")
def graphs(request, device):
    """Graph name -> graph, read once."""
    known = {}

    def get(name: str):
        if name not in known:
            if name.startswith("synthetic-"):
                known[name] = synthetic_graph(int(name.partition("-")[2]))
            else:
                assert name in REAL, f"--dataset {name}: choose from {', '.join(REAL)}"
                known[name] = real_graph(name, request.config.getoption("--data-dir"))
        if known[name] is None:
            pytest.skip(f"no data for {name}; give --data-dir")
        return known[name].to(device)

    return get


def pytest_generate_tests(metafunc):
    if "graph_name" in metafunc.fixturenames:
        real = [name for name in metafunc.config.getoption("--dataset").split(",") if name]
        synthetic = [f"synthetic-{edges}" for edges in metafunc.config.getoption("--edges").split(",") if edges]
        metafunc.parametrize("graph_name", real + synthetic)
    if "width" in metafunc.fixturenames:
        metafunc.parametrize("width", [int(width) for width in metafunc.config.getoption("--width").split(",")])


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["mde_fast"] = machine()
