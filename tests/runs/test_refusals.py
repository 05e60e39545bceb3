"""What cannot be trained on is refused with one line, before anything is written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import write_shop


@pytest.fixture
def rejected(training, refused):
    """rejected(("--flag", ...), "part", ...): refused, and no run folder is left."""

    def rejected(arguments, *parts):
        refused(training("--output", "runs/new", *arguments), *parts)
        assert not Path("runs").exists()

    return rejected


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["--dataset", "babi"], ["dataset 'babi' not found", "looked in data", "shop"]),
        (["--dataset", "shopp"], ["did you mean 'shop'?"]),
        (["--dataset", "data/nowhere"], ["data/nowhere: no such file or folder"]),
        (["--dataset", ""], ["name of the dataset is empty"]),
        (["--data-dir", "nowhere"], ["nowhere: no such folder (--data-dir)"]),
        (["--dataset", "baby", "--require-real"], ["dataset 'baby' not found", "looked in"]),
        (["--epoch", "3"], ["unknown option epoch", "did you mean epochs?"]),
        (["--frobnicate"], ["unknown option frobnicate", "--help"]),
        (["clothing"], ["unrecognized arguments: clothing"]),
        (["--epochs"], ["--epochs", "expected one argument"]),
        (["--epochs", "0"], ["epochs: 0 must be 1 or more"]),
        (["--epochs", "2.5"], ["epochs=2.5: needs a whole number"]),
        (["--epochs", "many"], ["epochs=many: needs a whole number"]),
        (["--learning-rate", "0"], ["learning_rate: 0.0 must be greater than 0"]),
        (["--lr", "fast"], ["learning_rate=fast: needs a number"]),
        (["--seed", "-1"], ["seed: -1 must be 0 or more"]),
        (["--model", "bpr"], ["model: 'bpr' is not one of mde"]),
        (["--nlt", "fixed:2"], ["nlt: fixed:2", "between 0 and 1"]),
        (["--topk", "5,0"], ["topk: 5,0"]),
        (["--valid-metric", "auc"], ["valid_metric: auc", "recall@20"]),
        (["--split-ratios", "0.5,0.1,0.1"], ["split_ratios", "add up to 1"]),
        (["--require-real", "perhaps"], ["require_real=perhaps: needs true or false"]),
        (["--features", "image_feat.npy"], ["features=image_feat.npy: needs name=file"]),
        (["--features", "image=a.npy,image=b.npy"], ["features=image=a.npy,image=b.npy: image has two files"]),
        (["--features", "image=image_feat.npy"], ["needs features of two modalities", "found image"]),
        (["--features", "image=a.npy,text=text_feat.npy"], ["a.npy: cannot be read"]),
        (["--blend-weights", "1", "--item-graph", "blend"], ["1 weights for 2 modalities (image, text)"]),
        (["--user-column", "customer"], ["no column 'customer' (--user-column)"]),
        (["--device", "gpu"], ["device: gpu is not auto, cpu, cuda or cuda:N"]),
        (["--precision", "tf32"], ["precision: tf32 exists on CUDA devices only"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml: cannot be read"]),
    ],
)
def test_options(shop, rejected, arguments, parts):
    rejected(arguments, *parts)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there(shop, rejected, device):
    rejected(["--device", device], "no CUDA device is available here; use --device cpu")


@pytest.mark.parametrize(
    "content, parts",
    [
        ("epoch: 3\n", ["unknown option epoch; did you mean epochs?"]),
        ("user_k: [1, 2]\n", ["needs one value, not a list"]),
        ("epochs: {\n", ["not valid YAML at line"]),
        ("- epochs\n", ["not a mapping"]),
        ("seed:\n", ["seed=None: needs a whole number"]),
        (b"\xff\xfe\x00", ["cannot be read"]),
    ],
)
def test_a_configuration(shop, rejected, tmp_path, content, parts):
    path = tmp_path / "options.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    rejected(["--config", path], path, *parts)


def _truncated(path, matrix):
    np.save(path, matrix)
    path.write_bytes(path.read_bytes()[:-100])


def _objects(path, matrix):
    np.save(path, matrix.astype(object), allow_pickle=True)


def _with_nan(path, matrix):
    matrix[7, 3] = np.nan
    np.save(path, matrix)


@pytest.mark.parametrize(
    "damage, part",
    [
        (_objects, "holds Python objects (a pickle)"),
        (_truncated, "is truncated or damaged"),
        (_with_nan, "item 7 (item row 7, from 0) has NaN"),
        (lambda path, matrix: np.save(path, matrix * 0 + 1), "constant"),
        (lambda path, matrix: np.save(path, matrix[:-1]), "39 rows for 40 items"),
        (lambda path, matrix: np.save(path, matrix[0]), "is not (items, features)"),
        (lambda path, matrix: path.write_bytes(b""), "is not a .npy file"),
        (lambda path, matrix: path.write_bytes(b"\x80\x04pickle"), "is a pickle, which is never loaded"),
    ],
)
def test_features(shop, rejected, damage, part):
    path = shop / "text_feat.npy"
    damage(path, np.load(path))
    rejected([], path.relative_to(Path.cwd()), part)


def test_one_modality_alone(shop, rejected):
    (shop / "image_feat.npy").unlink()
    rejected([], "shop: mde needs features of two modalities or more, found text", "--features")


HEADER = "userID\titemID\tx_label\n"


@pytest.mark.parametrize(
    "text, parts",
    [
        (HEADER + "0\t1\t0\n0\t-2\t1\n", ["shop.inter: row 3", "item id -2 is negative"]),
        (HEADER + "0\t1\t0\n-1\t1\t1\n", ["shop.inter: row 3", "user id -1 is negative"]),
        (HEADER + "0\tA1\t0\n", ["shop.inter: row 2", "'A1' is not an integer"]),
        (HEADER + "0\t1\t7\n", ["shop.inter: row 2", "x_label '7'"]),
        (HEADER + "0\t1\n", ["shop.inter: row 2"]),
        (HEADER + "0\t1\t0\n0\t2\t1\n", ["shop: the test split is empty"]),
        (HEADER + "0\t1\t0\n1\t2\t1\n0\t2\t2\n", ["shop: the valid split is empty"]),
        (HEADER, ["no interactions below its header"]),
        ("", ["row 1: empty"]),
    ],
)
def test_interactions(shop, rejected, text, parts):
    (shop / "shop.inter").write_text(text)
    rejected([], *parts)


def test_a_user_who_has_every_item(shop, rejected):
    with open(shop / "shop.inter", "a") as file:
        file.writelines(f"13\t{item}\t0\n" for item in range(40))
    rejected([], "shop: user 13 has trained on all 40 items", "no negative to learn from")


def test_a_folder_without_interactions(shop, rejected):
    (shop / "shop.inter").unlink()
    rejected([], "data/shop: no interactions among its files", "shop.inter")


def test_interactions_without_features_where_real_ones_are_wanted(tmp_path, rejected):
    write_shop(tmp_path / "here" / "data", with_features=False)
    rejected(["--require-real"], "data/shop: no item features", "--features")


def test_a_folder_that_holds_a_run(trained, training, refused):
    run = trained("run", "--epochs", 1)
    before = (run / "config.yaml").read_text(), (run / "log.txt").read_text()
    refused(training("--output", "run", "--seed", 5), "run: holds a run already; continue it with --resume run")
    assert ((run / "config.yaml").read_text(), (run / "log.txt").read_text()) == before


def test_an_output_without_a_name(training, shop, refused):
    before = set(Path().iterdir())
    refused(training("--output", ""), "--output: is empty")
    assert set(Path().iterdir()) == before


def test_a_cpu_that_is_full_ends_with_one_line(rejected, shop):
    rejected(("--embedding-size", 10**11), "out of memory", "can't allocate memory", "embedding_size")
