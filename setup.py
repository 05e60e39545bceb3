"""Ships the folder ``kernels/`` as the import package ``mde_fast.kernels``.

A top-level import package named ``kernels`` would collide with a well-known one on PyPI. Everything else about the
distribution is in ``pyproject.toml``.
"""

from setuptools import find_packages, setup

setup(
    packages=find_packages(include=["mde_fast", "mde_fast.*"])
    + ["mde_fast.kernels"]
    + [f"mde_fast.kernels.{name}" for name in find_packages("kernels")],
    package_dir={"mde_fast.kernels": "kernels"},
)
