"""Public data sets in the forms in which they are passed on; each test skips where its data is absent."""

import pytest

from mde_fast.data import load_dataset


@pytest.fixture
def real(real_data):
    def real(name, **options):
        if not (real_data / name).is_dir():
            pytest.skip(f"no {name} in {real_data}")
        return load_dataset(name, data_dir=real_data, require_real=True, **options)

    return real


def sizes(dataset):
    return dataset.num_users, dataset.num_items, len(dataset.train), len(dataset.valid), len(dataset.test)


def test_baby(real):
    dataset = real("baby")
    assert sizes(dataset) == (19_445, 7_050, 118_551, 20_559, 21_682)
    assert list(dataset.features) == ["image", "text"] and dataset.data == "real"
    assert all(len(matrix) == 7_050 for matrix in dataset.features.values())
    assert dataset.notes == ()


def test_clothing(real):
    assert sizes(real("clothing", use_features=False)) == (39_387, 23_033, 197_338, 40_150, 41_189)


def test_tiktok_drops_users_without_training(real):
    dataset = real("tiktok")
    assert sizes(dataset) == (9_308, 6_710, 59_541, 3_046, 6_125)
    assert dataset.notes == (
        "valid: 5 interactions of 5 users without a training one dropped",
        "test: 5 interactions of 5 users without a training one dropped",
    )
    assert {name: str(matrix.dtype) for name, matrix in dataset.features.items()} == {
        "image": "float16",
        "audio": "float16",
    }


def test_lfm2k_has_three_modalities(real):
    dataset = real("lfm2k")
    assert sizes(dataset) == (1_858, 1_425, 44_327, 4_799, 7_219)
    assert {name: str(matrix.dtype) for name, matrix in dataset.features.items()} == {
        "all-MiniLM-L6-v2": "float32",
        "vggish": "float64",
        "whisper": "float32",
    }


def test_gowalla(real):
    users, items, train, valid, test = sizes(real("gowalla", use_features=False))
    assert (users, items, train + valid, test) == (29_858, 40_981, 810_128, 217_242)
    assert valid == pytest.approx(810_128 / 9, rel=0.02)


def test_ifashion(real):
    users, items, train, valid, test = sizes(real("ifashion", use_features=False))
    assert (users, items, train + valid + test) == (114_737, 30_040, 1_781_093)
    assert valid == test == pytest.approx(178_109, rel=0.05)
