"""Stand-in data: synthetic interactions and features of the published sizes, for those who have no real data yet."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .dataset import STAND_IN, STAND_IN_FEATURES, InteractionDataset, Split
from .stand_in_features import MODALITY_WIDTHS, curve_latent, modality_features, spectral_latent

DISTRIBUTED_AT = "https://github.com/enoche/MMRec"
CORE = 5
SEED = 2014

# Why a user takes an item: for what both picture and words show, or for what one of the two alone shows.
ASPECT_SHARES = {"shared": 0.6, "image": 0.15, "text": 0.25}
# Distances on a ring, as numbers of items: a niche has the same size in a small catalogue and in a large one.
USER_SPREAD = 3
ITEM_SPREAD = 0.5
ITEMS_PER_CORNER = 60
LATENT_WIDTH = 64
SPECTRAL_WIDTH = 128


@dataclass(frozen=True)
class StandInSize:
    """Published counts of a data set; ``user_degree`` and ``item_degree`` are the largest interaction counts."""

    users: int
    items: int
    train: int
    valid: int
    test: int
    user_degree: int
    item_degree: int

    @property
    def interactions(self) -> int:
        return self.train + self.valid + self.test


STAND_IN_SIZES = {
    "baby": StandInSize(19_445, 7_050, 118_551, 20_559, 21_682, user_degree=125, item_degree=780),
    "sports": StandInSize(35_598, 18_357, 218_409, 37_899, 40_029, user_degree=296, item_degree=1_042),
    "clothing": StandInSize(39_387, 23_033, 197_338, 40_150, 41_189, user_degree=136, item_degree=441),
}


def stand_in_dataset(name: str, folder: str | Path | None = None) -> InteractionDataset:
    """Synthetic data set of exactly the published size, with structure that a multi-modal recommender can learn.

    For each aspect of ``ASPECT_SHARES`` there is a ring of topics on which every item has a place and every user an
    interest. Degrees follow a long-tailed law, five or more for each user and item. Each interaction belongs to one
    aspect: the users' slots there, scattered around their interests, and the items' slots, scattered around their
    places, are sorted along the ring and paired in order. So the degrees are exact, and nearby items share users.
    Features show the same places, each modality those of the shared aspect and of its own, with noise.

    Interactions come from exactly rounded arithmetic and one seeded generator, so they are the same everywhere.
    Features are the same on every run; between machines the last bits of the matrix products may differ.

    Args:
        name: ``baby``, ``sports`` or ``clothing``.
        folder: where the user keeps the real data, for the command in the note; ``data/<name>`` by default.

    Returns:
        Data set with ``data="stand-in"``, features ``image`` (I, 4096) and ``text`` (I, 384), float32, unit rows.

    Raises:
        InputError: no published size is known under this name.
    """
    if name not in STAND_IN_SIZES:
        known = ", ".join(STAND_IN_SIZES)
        raise InputError(f"no stand-in data for {name!r}: choose one of {known}, or name a folder with real data")
    size = STAND_IN_SIZES[name]
    rng = _generator()
    places = {aspect: rng.random(size.items) for aspect in ASPECT_SHARES}
    users, items = _draw_interactions(size, places, rng)
    splits = _split(users, items, size, rng)
    corners = size.items // ITEMS_PER_CORNER
    latents = {aspect: curve_latent(places[aspect], LATENT_WIDTH, corners, rng) for aspect in ASPECT_SHARES}
    shared = latents.pop("shared")
    note = (
        f"STAND-IN DATA: synthetic, same size as the published {name.capitalize()}; figures on it say nothing about "
        f"the real one. To use that, linked from {DISTRIBUTED_AT}: {bring_real_data_command(name, folder)}"
    )
    return InteractionDataset.build(
        name,
        splits,
        num_users=size.users,
        num_items=size.items,
        features=modality_features(shared, latents, rng),
        data=STAND_IN,
        notes=(note,),
    )


def with_stand_in_features(
    dataset: InteractionDataset, folder: str | Path | None = None, *, mmrec_form: bool = True
) -> InteractionDataset:
    """The same interactions with features made from the TRAIN ones, for a folder without feature files.

    The latents are spectral item factors of the training interactions: half of the factors are seen by both
    modalities, a quarter by each alone. Items without a training interaction get noise only. Validation and test
    interactions are never looked at.

    Args:
        dataset: any data set; features that it has are replaced.
        folder: where the user keeps the real data, for the note; ``data/<name>`` by default, nowhere for data that
            does not have MMRec's form.
        mmrec_form: the data has MMRec's form, so that MMRec may have features for it.

    Returns:
        Data set with ``data="stand-in features"``, features ``image`` (I, 4096) and ``text`` (I, 384), float32, unit
        rows.
    """
    rng = _generator()
    factors = spectral_latent(dataset.train_matrix, SPECTRAL_WIDTH, rng)
    features = modality_features(factors[:, 0::2], {"image": factors[:, 1::4], "text": factors[:, 3::4]}, rng)
    note = (
        "STAND-IN FEATURES: image and text features are made from the training interactions; figures on them say "
        f"nothing about the real ones. {_real_features_advice(dataset.name, folder, mmrec_form=mmrec_form)}"
    )
    # On synthetic interactions the wider label stays true.
    label = STAND_IN if dataset.data == STAND_IN else STAND_IN_FEATURES
    return dataset.with_features(features, data=label, note=note)


def _real_features_advice(name: str, folder: str | Path | None, *, mmrec_form: bool) -> str:
    """How to use real features: one's own, MMRec's where it may have this data set, or MMRec's where it surely has."""
    own = (
        f"To use real ones, put image_feat.npy and text_feat.npy, a row per item, into {folder or f'data/{name}'}, or "
        "name files of yours with --features image=FILE,text=FILE (.npy, or .parquet, which is matched by item id)"
    )
    if folder is None and not mmrec_form:
        return "To use real ones, give features={modality: table}, an item column beside the features"
    if not mmrec_form:
        return own
    command = f"linked from {DISTRIBUTED_AT}: {bring_real_data_command(name, folder, features_only=True)}"
    return f"To use those, {command}" if name in STAND_IN_SIZES else f"{own}; if MMRec has {name}, {command}"


def bring_real_data_command(name: str, folder: str | Path | None = None, *, features_only: bool = False) -> str:
    """One shell command (bash, zsh) that copies the real files of ``name`` from MMRec's folders into place.

    Args:
        name: name of the data set, as in MMRec's ``data/<name>/<name>.inter``.
        folder: where they belong; ``data/<name>`` by default.
        features_only: leave the interactions that are there as they are.
    """
    source, target = shlex.quote(name), shlex.quote(str(folder or f"data/{name}"))
    files = [f"{modality}_feat.npy" for modality in MODALITY_WIDTHS]
    if not features_only:
        files.insert(0, f"{source}.inter")
    return f"mkdir -p {target} && cp /path/to/MMRec/data/{source}/{{{','.join(files)}}} {target}/"


def _generator() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(SEED))


def _draw_interactions(
    size: StandInSize, places: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Unique pairs, sorted by user: users (N,) and items (N,) of exact degrees, paired aspect by aspect."""
    user_degrees = _degrees(size.users, size.interactions, size.user_degree, root=4)
    item_degrees = _degrees(size.items, size.interactions, size.item_degree, root=2)
    user_slots = _shuffled(np.repeat(_shuffled(np.arange(size.users), rng), user_degrees), rng)
    item_slots = _shuffled(np.repeat(_shuffled(np.arange(size.items), rng), item_degrees), rng)
    bounds = np.floor(np.cumsum([0, *ASPECT_SHARES.values()]) * size.interactions + 0.5).astype(np.int64)
    for aspect, start, stop in zip(ASPECT_SHARES, bounds[:-1], bounds[1:]):
        users, items = user_slots[start:stop], item_slots[start:stop]
        interests = rng.random(size.users)
        along_ring = _scatter(interests[users], USER_SPREAD / size.items, rng)
        users[:] = users[np.argsort(along_ring, kind="stable")]
        along_ring = _scatter(places[aspect][items], ITEM_SPREAD / size.items, rng)
        items[:] = items[np.argsort(along_ring, kind="stable")]
    pairs = _without_repeats(user_slots, item_slots, size.items, rng)
    return pairs // size.items, pairs % size.items


def _degrees(count: int, total: int, largest: int, root: int) -> np.ndarray:
    """(count,) descending degrees of sum ``total``, from ``CORE`` to ``largest``: a Zipf-Mandelbrot law.

    Beyond the core the degree of rank r goes with ``((count + c) / (r + c)) ** (1 / root) - 1``, ``root`` 2 or 4; the
    offset c is the one that gives the sum. Square roots, unlike other powers, are rounded alike on every machine.
    """
    rank = np.arange(1, count + 1)

    def beyond_core(offset: float) -> np.ndarray:
        law = (count + offset) / (rank + offset)
        law = np.sqrt(law) if root == 2 else np.sqrt(np.sqrt(law))
        return (largest - CORE) * ((law - 1) / (law[0] - 1))

    low, high = -1.0, float(count)
    for _ in range(60):
        middle = (low + high) / 2
        too_many = np.floor(beyond_core(middle)).sum() > total - CORE * count
        low, high = (low, middle) if too_many else (middle, high)
    exact = beyond_core(low)
    degrees = CORE + np.floor(exact).astype(np.int64)
    missing = total - degrees.sum()
    degrees[np.argsort(np.floor(exact) - exact, kind="stable")[:missing]] += 1
    return np.sort(degrees)[::-1]


def _shuffled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return values[np.argsort(rng.random(len(values)), kind="stable")]


def _scatter(places: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Places moved along the ring by heavy-tailed steps: mostly within ``spread``, now and then to anywhere."""
    uniform = 2 * rng.random(len(places)) - 1
    return (places + spread * uniform / (1 - np.abs(uniform) + 1e-9)) % 1


def _without_repeats(users: np.ndarray, items: np.ndarray, num_items: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted unique pairs ``user * num_items + item`` after swapping the items of repeated pairs with neighbours'."""
    reach = 100
    while True:
        pairs = users * num_items + items
        order = np.argsort(pairs, kind="stable")
        repeated = order[1:][pairs[order[1:]] == pairs[order[:-1]]]
        if len(repeated) == 0:
            return pairs[order]
        partners = (repeated + 1 + rng.integers(reach, size=len(repeated))) % len(pairs)
        partners, first = np.unique(partners, return_index=True)
        apart = ~np.isin(partners, repeated)
        partners, swapped = partners[apart], repeated[first][apart]
        items[swapped], items[partners] = items[partners], items[swapped]
        # A user who has all of the neighbourhood finds something new only further away.
        reach = min(2 * reach, len(pairs) - 1)


def _split(users: np.ndarray, items: np.ndarray, size: StandInSize, rng: np.random.Generator) -> dict[str, Split]:
    """Hold out pairs of every user in proportion to the degree, at least one for each split."""
    degrees = np.bincount(users, minlength=size.users)
    held_out = {"valid": _seats(degrees, size.valid), "test": _seats(degrees, size.test)}
    order = np.lexsort((rng.random(len(users)), users))
    users, items = users[order], items[order]
    rank = np.arange(len(users)) - np.repeat(np.cumsum(degrees) - degrees, degrees)
    valid = rank < held_out["valid"][users]
    test = ~valid & (rank < (held_out["valid"] + held_out["test"])[users])
    everything = Split(users, items)
    return {"train": everything.where(~valid & ~test), "valid": everything.where(valid), "test": everything.where(test)}


def _seats(degrees: np.ndarray, total: int) -> np.ndarray:
    """(U,) held-out pairs of each user, of sum ``total``: one each, the rest in proportion (D'Hondt's method)."""
    claims = degrees // (2 * CORE)
    user = np.repeat(np.arange(len(degrees)), claims)
    seat = 2 + np.arange(len(user)) - np.repeat(np.cumsum(claims) - claims, claims)
    winners = user[np.argsort(-degrees[user] / seat, kind="stable")[: total - len(degrees)]]
    return 1 + np.bincount(winners, minlength=len(degrees))
