"""The native kernels; everything else about the distribution is in ``pyproject.toml``.

A library is compiled for each kind of processor that torch tells apart, and needs neither Python's headers nor torch's.
Without a compiler the installation succeeds all the same: operators then run as PyTorch calls, and the log says so.
"""

import platform
from pathlib import Path
from runpy import run_path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = {"default": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    FLAGS["avx2"] = ["-mavx2", "-mfma", "-mf16c"]
    FLAGS["avx512"] = [*FLAGS["avx2"], "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]

KERNELS = Path("kernels")
sources = run_path("mde_fast/kernels/native_sources.py")  # where a source distribution has the package's modules


def library(kind: str) -> Extension:
    return Extension(
        f"mde_fast.kernels._native_{kind}",
        sources=[str(KERNELS / "native.cpp")],
        depends=[str(file) for file in sources["source_files"](KERNELS)],
        define_macros=[("MDE_FAST_SOURCES", f'"{sources["fingerprint"](KERNELS)}"')],
        # Compiled for OpenMP and linked without: the kernels use the OpenMP that torch has loaded.
        extra_compile_args=[
            "-std=c++17",
            "-O3",
            "-fno-math-errno",
            "-g0",
            "-fopenmp",
            "-fvisibility=hidden",
            *FLAGS[kind],
        ],
        language="c++",
        optional=True,
        py_limited_api=True,
    )


class BuildLibraries(build_ext):
    """Libraries are named after the processor alone: no Python belongs to them."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"


setup(
    ext_modules=[library(kind) for kind in FLAGS],
    cmdclass={"build_ext": BuildLibraries},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
