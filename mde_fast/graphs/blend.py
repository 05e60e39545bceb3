"""How much each modality's item graph counts in the one graph of all (DRAGON, FREEDOM)."""

from __future__ import annotations

from ..errors import InputError

IMAGE_WEIGHT = 0.1  # of images beside text, in DRAGON and FREEDOM


def blend_weights(given: tuple[float, ...], modalities: tuple[str, ...]) -> tuple[float, ...]:
    """The weight of each modality: as given, else 0.1 for image beside 0.9 for text, else equal.

    Raises:
        InputError: not as many weights as modalities.
    """
    if given and len(given) != len(modalities):
        raise InputError(
            f"blend_weights: {len(given)} weights for {len(modalities)} modalities ({', '.join(modalities)})"
        )
    if given:
        return given
    if set(modalities) == {"image", "text"}:
        return tuple(IMAGE_WEIGHT if modality == "image" else 1 - IMAGE_WEIGHT for modality in modalities)
    return (1 / len(modalities),) * len(modalities)
