"""What decides a figure beside the code: processor, GPU and its settings, versions."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import mde_fast
from mde_fast.kernels.measured import processor

# Name here -> nvidia-smi's.
OF_THE_GPU = {
    "driver": "driver_version",
    "power limit": "power.limit",
    "ECC": "ecc.mode.current",
    "SM clock": "clocks.sm",
    "largest SM clock": "clocks.max.sm",
    "memory clock": "clocks.mem",
    "largest memory clock": "clocks.max.mem",
    "temperature": "temperature.gpu",
    "clocks held back by": "clocks_event_reasons.active",
}


def machine() -> dict[str, Any]:
    """The record of this process's machine."""
    cuda = torch.cuda.is_available()
    settings = gpu_settings() if cuda else {}
    return {
        "mde_fast": mde_fast.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cpu": processor(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "driver": settings.pop("driver", None),
        **({"gpu settings": settings, "triton": _version("triton"), "CUDA": torch.version.cuda} if cuda else {}),
    }


def gpu_settings() -> dict[str, str]:
    """What nvidia-smi says of the first GPU; what it does not know is missing, as all is without it."""
    found = {}
    for name, field in OF_THE_GPU.items():  # one by one: an unknown name would take the others with it
        command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
        try:
            found[name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            continue
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
