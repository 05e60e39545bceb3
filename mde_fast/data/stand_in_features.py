"""Item features made from latents: one that all modalities see, one for each alone, and noise."""

from __future__ import annotations

import numpy as np
import scipy.sparse

MODALITY_WIDTHS = {"image": 4096, "text": 384}
# Pictures say less than words about what people choose, in the published sets too.
ITEM_NOISE = {"image": 0.8, "text": 0.5}
FEATURE_NOISE = 0.5
POWER_STEPS = 4
RANK_TOLERANCE = 1e-6
BLOCK_ROWS = 2048


def modality_features(
    shared: np.ndarray, own: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Show each modality the shared latent and its own through a random map of its own, and add noise.

    Args:
        shared: (I, D) latent that all modalities see, float32 with entries of about unit variance.
        own: for each modality of ``MODALITY_WIDTHS`` the (I, D_m) latent that it alone sees.
        rng: source of the maps and the noise.

    Returns:
        Modality name -> (I, F_m) float32, rows of unit length.
    """
    return {name: _observe(np.hstack([shared, own[name]]), name, rng) for name in MODALITY_WIDTHS}


def _observe(latent: np.ndarray, name: str, rng: np.random.Generator) -> np.ndarray:
    (items, latent_width), width = latent.shape, MODALITY_WIDTHS[name]
    # Noise per latent dimension survives in the cosines; noise per feature averages out over the many features.
    seen = latent + ITEM_NOISE[name] * rng.standard_normal(latent.shape, dtype=np.float32)
    view = rng.standard_normal((latent_width, width), dtype=np.float32) / np.float32(np.sqrt(latent_width))
    features = np.empty((items, width), dtype=np.float32)
    for start in range(0, items, BLOCK_ROWS):
        block = features[start : start + BLOCK_ROWS]
        rng.standard_normal(out=block, dtype=np.float32)
        block *= FEATURE_NOISE
        block += seen[start : start + BLOCK_ROWS] @ view
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return features


def curve_latent(places: np.ndarray, width: int, corners: int, rng: np.random.Generator) -> np.ndarray:
    """Points on a closed random polyline: items close on the ring are close in the latent.

    Args:
        places: (I,) position of each item on a ring of length one, in [0, 1).
        width: number of latent dimensions D.
        corners: number of corners of the polyline; items further apart than two of them have nothing in common.
        rng: source of the corners.

    Returns:
        (I, D) float32.
    """
    points = rng.standard_normal((corners, width), dtype=np.float32)
    before = np.minimum((places * corners).astype(np.int64), corners - 1)
    along = (places * corners - before).astype(np.float32)[:, None]
    return (1 - along) * points[before] + along * points[(before + 1) % corners]


def spectral_latent(train: scipy.sparse.csr_matrix, width: int, rng: np.random.Generator) -> np.ndarray:
    """Item factors of the degree-normalised interactions, by a seeded block power iteration.

    Args:
        train: (U, I) matrix of ones.
        width: number of factors; fewer come back where the interactions have a lower rank.
        rng: source of the starting block.

    Returns:
        (I, D) float32, D <= width, strongest factor first, entries of unit mean square in each row; a row of zeros
        for an item without interactions.
    """
    per_user = np.maximum(np.asarray(train.sum(axis=1)).ravel(), 1)
    per_item = np.maximum(np.asarray(train.sum(axis=0)).ravel(), 1)
    scaled = scipy.sparse.diags(per_user**-0.5) @ train @ scipy.sparse.diags(per_item**-0.5)
    scaled = scaled.astype(np.float32).tocsr()
    scaled_back = scaled.T.tocsr()
    factors = rng.standard_normal((train.shape[1], width), dtype=np.float32)
    for _ in range(POWER_STEPS):
        factors = scaled_back @ (scaled @ factors)
    # So few steps keep the factors apart in float32; one last step weighs the basis by strength.
    factors = _orthonormal(factors)
    factors = scaled_back @ (scaled @ factors)
    lengths = np.linalg.norm(factors, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return factors * (np.float32(np.sqrt(factors.shape[1])) / lengths)


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns, from the small Gram matrix: many times faster than QR on a tall matrix."""
    squares, directions = np.linalg.eigh((columns.T @ columns).astype(np.float64))
    squares, directions = squares[::-1], directions[:, ::-1]
    kept = squares > RANK_TOLERANCE * squares[0]
    return columns @ (directions[:, kept] / np.sqrt(squares[kept])).astype(np.float32)
