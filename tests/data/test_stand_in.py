import hashlib
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from mde_fast.data import load_dataset
from mde_fast.data.dataset import InteractionDataset, Split
from mde_fast.data.stand_in import (
    STAND_IN_SIZES,
    bring_real_data_command,
    stand_in_dataset,
    with_stand_in_features,
)
from mde_fast.errors import InputError

PUBLISHED = {
    "baby": (19_445, 7_050, 160_792),
    "sports": (35_598, 18_357, 296_337),
    "clothing": (39_387, 23_033, 278_677),
}
BABY_SHA256 = "efad4627acf80fdd37076cda73fd8905dbd2607d31877612ccbedab5210168a9"


@pytest.fixture(scope="module")
def baby() -> InteractionDataset:
    return stand_in_dataset("baby")


@pytest.fixture(scope="module")
def baby_train_features(baby) -> dict[str, np.ndarray]:
    return with_stand_in_features(baby).features


def all_pairs(dataset) -> tuple[np.ndarray, np.ndarray]:
    splits = (dataset.train, dataset.valid, dataset.test)
    return np.concatenate([split.users for split in splits]), np.concatenate([split.items for split in splits])


def interactions_sha256(dataset) -> str:
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.valid, dataset.test):
        digest.update(split.users.astype("<i8").tobytes() + split.items.astype("<i8").tobytes())
    return digest.hexdigest()


def recall_at_20(dataset, users, scores) -> float:
    """Test recall of ``users`` by ``scores`` (users, I); training items are masked here."""
    held_out = dataset.test.matrix(dataset.num_users, dataset.num_items)[users]
    scores = scores.copy()
    scores[dataset.train_matrix[users].nonzero()] = -np.inf
    top = np.argpartition(-scores, 20, axis=1)[:, :20]
    hits = np.take_along_axis(held_out.toarray(), top, axis=1).sum(axis=1)
    return (hits / held_out.getnnz(axis=1)).mean()


def neighbour_lift(dataset, features) -> float:
    """How many times more often than chance one of the ten nearest items has a training user in common."""
    items = np.arange(0, dataset.num_items, 10)
    similarity = features[items] @ features.T
    similarity[np.arange(len(items)), items] = -np.inf
    nearest = np.argpartition(-similarity, 10, axis=1)[:, :10]
    together = (dataset.train_matrix[:, items].T @ dataset.train_matrix).toarray() > 0
    return np.take_along_axis(together, nearest, axis=1).mean() / together.mean()


@pytest.mark.parametrize("name", STAND_IN_SIZES)
def test_counts_are_the_published_ones(name, baby):
    dataset = baby if name == "baby" else stand_in_dataset(name)
    size = STAND_IN_SIZES[name]
    users, items = all_pairs(dataset)
    assert (dataset.num_users, dataset.num_items, len(users)) == PUBLISHED[name]
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (size.train, size.valid, size.test)
    assert len(np.unique(users * size.items + items)) == size.interactions
    for rows, count, largest in ((users, size.users, size.user_degree), (items, size.items, size.item_degree)):
        degrees = np.bincount(rows, minlength=count)
        assert len(degrees) == count
        assert (degrees.min(), degrees.max()) == (5, largest)
    for split in (dataset.train, dataset.valid, dataset.test):
        assert np.bincount(split.users, minlength=size.users).min() >= 1
    assert dataset.features["image"].shape == (size.items, 4096)
    assert dataset.features["text"].shape == (size.items, 384)


def test_degrees_have_the_long_tail_of_the_published_set(baby):
    # Quantiles 50 %, 75 %, 90 %, 99 % and 99.9 % of the published Baby.
    published = {"users": [6, 9, 13, 31, 55], "items": [11, 23, 49, 184, 355]}
    for rows, expected in zip(all_pairs(baby), published.values()):
        measured = np.quantile(np.bincount(rows), [0.5, 0.75, 0.9, 0.99, 0.999])
        np.testing.assert_allclose(measured, expected, rtol=0.35)


def test_held_out_share_follows_the_degree(baby):
    degrees = np.bincount(all_pairs(baby)[0])
    busy = degrees >= 30
    for split in (baby.valid, baby.test):
        share = np.bincount(split.users)[busy] / degrees[busy]
        assert share.min() > 0.05 and share.max() < 0.15


def test_interactions_are_the_same_everywhere(baby):
    assert interactions_sha256(baby) == BABY_SHA256


def test_two_calls_give_the_same_bytes(baby):
    again = stand_in_dataset("baby")
    assert again.fingerprint == baby.fingerprint
    assert again.notes == baby.notes
    for name, matrix in baby.features.items():
        np.testing.assert_array_equal(again.features[name], matrix)


@pytest.mark.parametrize("source", ["baby", "baby_train_features"])
def test_features_are_well_formed(source, baby, request):
    features = baby.features if source == "baby" else request.getfixturevalue(source)
    assert list(features) == ["image", "text"]
    for matrix, width in zip(features.values(), (4096, 384)):
        assert matrix.shape == (baby.num_items, width)
        assert matrix.dtype == np.float32
        assert np.isfinite(matrix).all()
        assert matrix.std(axis=0).min() > 0
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, rtol=1e-4)


def test_content_beats_popularity(baby):
    users = np.arange(0, baby.num_users, 10)
    taken = baby.train_matrix[users]
    popular = baby.train_matrix.getnnz(axis=0).astype(np.float32)
    image, text = ((taken @ matrix) @ matrix.T for matrix in baby.features.values())
    scores = {"popularity": np.tile(popular, (len(users), 1)), "image": image, "text": text, "both": image + text}
    recall = {name: recall_at_20(baby, users, matrix) for name, matrix in scores.items()}
    assert recall["image"] > 1.2 * recall["popularity"]
    assert recall["text"] > 1.5 * recall["popularity"]
    # Each modality knows something that the other does not.
    assert recall["both"] > max(recall["image"], recall["text"])


def test_similar_items_share_users(baby, baby_train_features):
    for features in (baby.features, baby_train_features):
        for matrix in features.values():
            assert neighbour_lift(baby, matrix) > 4


def test_modalities_are_partly_shared_and_partly_distinct(baby):
    items = np.arange(0, baby.num_items, 10)
    image, text = (matrix[items] @ matrix[items].T for matrix in baby.features.values())
    above = np.triu_indices(len(items), 1)
    assert 0.2 < np.corrcoef(image[above], text[above])[0, 1] < 0.8


def test_features_from_interactions_do_not_look_at_held_out_ones(baby, baby_train_features):
    changed = replace(baby, valid=Split(baby.test.users[:7], baby.test.items[:7]), test=baby.valid)
    for name, matrix in with_stand_in_features(changed).features.items():
        np.testing.assert_array_equal(matrix, baby_train_features[name])


def test_item_without_training_interaction_gets_noise():
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(300), 6), rng.integers(500, size=1800)
    train = Split(users[items != 7], items[items != 7])
    held_out = Split(np.array([0]), np.array([7]))
    splits = {"train": train, "valid": held_out, "test": held_out}
    features = with_stand_in_features(InteractionDataset.build("shop", splits, num_users=300, num_items=500)).features
    for matrix in features.values():
        assert np.linalg.norm(matrix[7]) == pytest.approx(1)
        assert np.abs(np.delete(matrix @ matrix[7], 7)).max() < 0.6


@pytest.mark.parametrize("num_users, num_items", [(1, 1), (2, 3), (3, 200)])
def test_features_of_a_tiny_set(num_users, num_items):
    one = Split(np.array([0]), np.array([0]))
    splits = {"train": one, "valid": one, "test": one}
    tiny = InteractionDataset.build("tiny", splits, num_users=num_users, num_items=num_items)
    for matrix in with_stand_in_features(tiny).features.values():
        assert len(matrix) == num_items and np.isfinite(matrix).all()


def test_data_and_notes_say_what_is_made_up(baby):
    assert baby.data == "stand-in"
    (note,) = baby.notes
    assert note.startswith("STAND-IN DATA: synthetic, same size as the published Baby; figures on it say nothing")
    assert note.endswith(bring_real_data_command("baby"))

    splits = {part: Split(np.array([0]), np.array([item])) for item, part in enumerate(("train", "valid", "test"))}
    real = InteractionDataset.build("shop", splits, num_users=2, num_items=3, notes=("split by ratio",))
    dressed = with_stand_in_features(replace(real, name="baby"), folder="here/shop")
    assert dressed.data == "stand-in features"
    assert dressed.fingerprint == real.fingerprint
    assert dressed.notes[0] == "split by ratio"
    assert dressed.notes[1].startswith("STAND-IN FEATURES: ")
    assert dressed.notes[1].endswith(bring_real_data_command("baby", "here/shop", features_only=True))
    assert with_stand_in_features(replace(real, data="stand-in")).data == "stand-in"


@pytest.mark.parametrize("name", ["shop", "baby"])
@pytest.mark.parametrize(
    "files",
    [
        {"interactions.csv": "user,item,split\na,x,0\na,b,1\na,c,2\n"},
        {"train.txt": "0 0\n", "test.txt": "0 1\n", "valid.txt": "0 2\n"},
    ],
)
def test_features_of_ones_own_are_asked_for_where_mmrec_has_none(write, name, files):
    folder = write({f"{name}/{file}": text for file, text in files.items()})
    note = load_dataset(folder).notes[-1]
    assert note.startswith("STAND-IN FEATURES: ") and "MMRec" not in note and "\n" not in note
    for part in (f"into {folder}", "image_feat.npy", "--features image=FILE,text=FILE", "parquet"):
        assert part in note


def test_features_for_a_folder_of_mmrecs_form_may_be_mmrecs(mmrec):
    folder = mmrec()
    note = load_dataset(folder).notes[-1]
    assert f"into {folder}" in note and "if MMRec has shop" in note
    assert note.endswith(bring_real_data_command("shop", folder, features_only=True))


def test_command():
    assert bring_real_data_command("clothing") == (
        "mkdir -p data/clothing && "
        "cp /path/to/MMRec/data/clothing/{clothing.inter,image_feat.npy,text_feat.npy} data/clothing/"
    )
    assert "/{image_feat.npy,text_feat.npy} data/baby/" in bring_real_data_command("baby", features_only=True)


def test_command_runs(tmp_path):
    source, target = tmp_path / "MMRec" / "data" / "my shop", tmp_path / "kept here" / "shop"
    source.mkdir(parents=True)
    names = {"my shop.inter", "image_feat.npy", "text_feat.npy"}
    for name in names:
        (source / name).touch()
    command = bring_real_data_command("my shop", target).replace("/path/to", str(tmp_path))
    subprocess.run(["bash", "-c", command], check=True)
    assert {path.name for path in target.iterdir()} == names


def test_unknown_name():
    with pytest.raises(InputError, match="no stand-in data for 'shoes': choose one of baby, sports, clothing"):
        stand_in_dataset("shoes")
