"""dropout: masks that follow from counted bits."""

from functools import partial

import pytest
import torch
from aot import NVIDIA, STORAGE, TARGETS, Request, compile_many
from comparing import check, check_compiled, check_gradients, check_registered, check_repeats
from operands import DTYPES, HALF_DTYPES, random, random_ids
from scipy.stats import chi2, norm
from support import forced

from mde_fast.kernels import dropout
from mde_fast.kernels.dropout.primitives import dropout_apply
from mde_fast.kernels.dropout.reference import mask_reference

SHAPES = ((), (0,), (1,), (0, 8), (8, 0), (1, 1), (9, 8), (17, 3), (5, 3, 7), (2, 0, 3), (33, 64))
SHARES = (0.0, 0.3, 0.5, 0.9)
SEEDS = (0, 1, 2**31, 2**62 + 12345, -1)


def _seed(number: int = 5, device="cpu") -> torch.Tensor:
    return torch.tensor(number, device=device)


def _case(device, *shape, dtype=torch.float64, share=0.3, seed=5, **options):
    operator = partial(dropout, share=share, seed=_seed(seed, device), **options)
    return operator, {"x": random(*shape, dtype=dtype, device=device)}


def _kept(implementation, shape, share, seed, device="cpu", dtype=torch.float32, **options) -> torch.Tensor:
    """Which of the elements stay."""
    with forced(implementation):
        return dropout(torch.ones(shape, dtype=dtype, device=device), share, seed, **options).cpu() != 0


# ---------------------------------------------------------------------------------------------------------------------
# Values


def test_by_hand(any_implementation, device):
    """The hash written out for one element after another, in Python's own integers."""

    def hashed(number: int, seed: int, stream: int) -> int:
        key = (seed + (stream + 1) * 0x9E3779B97F4A7C15) % 2**64
        key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        key = (key ^ (key >> 27)) * 0x94D049BB133111EB % 2**64
        key ^= key >> 31
        mixed = number % 2**32 ^ key % 2**32
        mixed = (mixed ^ (mixed >> 17)) * 0xED5AD4BB % 2**32
        mixed = (mixed ^ (mixed >> 11)) * 0xAC4C1B51 % 2**32
        mixed = (mixed + (key >> 32)) % 2**32
        mixed = (mixed ^ (mixed >> 15)) * 0x31848BAB % 2**32
        return mixed - 2**32 * (mixed >= 2**31)

    x = random(6, 5)
    rows = torch.tensor([3, 2**32, 7, 3, 0, 2**31 + 1])
    for seed, stream in ((0, 0), (1, 0), (2**62 + 1, 3), (-5, 2**31 - 1)):
        for chosen in (None, rows):
            with forced(any_implementation):
                out = dropout(
                    x.to(device),
                    0.3,
                    _seed(seed, device),
                    stream=stream,
                    rows=None if chosen is None else rows.to(device),
                )
            for place, (value, result) in enumerate(zip(x.flatten().tolist(), out.flatten().tolist())):
                number = place if chosen is None else int(rows[place // 5]) * 5 + place % 5
                stays = hashed(number, seed, stream) >= round(0.3 * 2**32) - 2**31
                assert result == (value * (1 / 0.7) if stays else 0), (seed, stream, place)


@pytest.mark.parametrize("shape", ((4, 3), (3, 2, 4), (7,), ()))
def test_gradcheck(any_implementation, device, shape):
    check_gradients(any_implementation, *_case(device, *shape, stream=2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(implementation, device, shape, share, dtype):
    check(implementation, *_case(device, *shape, dtype=dtype, share=share, stream=1))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_half_precision(implementation, device, dtype):
    check(implementation, *_case(device, 30, 64, dtype=dtype))


@pytest.mark.parametrize("dtype", (*DTYPES, *HALF_DTYPES))
def test_values_are_the_same_bits_everywhere(implementation, device, dtype):
    """Not the mask alone: every implementation rounds the same product once."""
    if dtype == torch.bfloat16 and implementation == "triton" and device == "cpu":
        pytest.skip("the interpreter cuts bfloat16 off instead of rounding it")
    operator, tensors = _case(device, 40, 50, dtype=dtype)
    with forced(implementation):
        actual = operator(**tensors).cpu()
    with forced("torch"):
        assert torch.equal(actual, dropout(tensors["x"].cpu(), 0.3, _seed(5)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_large(implementation, device, affordable, all_threads, dtype):
    affordable(5000 * 128)
    check(implementation, *_case(device, 5000, 2, 64, dtype=dtype))


def test_dropped_elements_are_zero_whatever_they_were(any_implementation, device):
    x = torch.full((50,), float("nan"), device=device)
    with forced(any_implementation):
        out = dropout(x, 0.5, _seed(device=device))
    assert ((out == 0) | out.isnan()).all() and (out == 0).any() and out.isnan().any()


def test_strided_inputs(implementation, device):
    """An element's number is its place in the shape, not in memory."""
    operator, tensors = _case(device, 6, 8)
    x = tensors["x"]
    for strided in (x.mT, x[::2], x[:, ::2], x.reshape(6, 2, 4).transpose(0, 1), x[:1].expand(5, 8)):
        check(implementation, operator, {"x": strided})


def test_expanded_gradient(implementation, device):
    operator, tensors = _case(device, 6, 8)
    x = tensors["x"].requires_grad_()
    with forced(implementation):
        (gradient,) = torch.autograd.grad(operator(x).sum(), x)
        assert torch.equal(gradient, operator(torch.ones_like(x)))


@pytest.mark.parametrize("index", (torch.int32, torch.int64))
@pytest.mark.parametrize("shape", ((5,), (5, 7), (5, 2, 3), (5, 0), (0, 4)))
def test_rows_of_a_larger_tensor(implementation, device, shape, index):
    """They are dropped as they are in the whole; a row that comes twice has one mask."""
    whole = random(40, *shape[1:], device=device)
    rows = random_ids(shape[0], 40, seed=3, device=device).to(index)
    seed = _seed(9, device)
    with forced(implementation):
        part = dropout(whole[rows], 0.4, seed, stream=2, rows=rows)
        assert torch.equal(part, dropout(whole, 0.4, seed, stream=2)[rows])
    check(implementation, partial(dropout, share=0.4, seed=seed, rows=rows), {"x": whole[rows]})


def test_many_rows(implementation, device, affordable, all_threads):
    affordable(3000 * 64)
    rows = random_ids(3000, 2**40, device=device)
    operator, tensors = _case(device, 3000, 64, dtype=torch.float32, rows=rows)
    check(implementation, operator, tensors)


# ---------------------------------------------------------------------------------------------------------------------
# Masks


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", (*DTYPES, *HALF_DTYPES))
def test_the_mask_is_the_same_bit_for_bit(implementation, device, dtype, seed):
    """In every type, of a seed of either shape, forwards and backwards, and as the reference has it."""
    expected = mask_reference(torch.Size((37, 29)), _seed(seed), 4, 0.3, None)
    for one in (_seed(seed, device), _seed(seed, device)[None]):
        assert torch.equal(_kept(implementation, (37, 29), 0.3, one, device, dtype, stream=4), expected)
    x = torch.ones(37, 29, dtype=dtype, device=device, requires_grad=True)
    with forced(implementation):
        dropout(x, 0.3, _seed(seed, device), stream=4).sum().backward()
    assert torch.equal(x.grad.cpu() != 0, expected)


def test_a_block_more_changes_nothing(implementation, device, affordable):
    """Elements in later blocks and pieces of a large tensor: each by its number."""
    affordable(2**16 + 100)
    shape = torch.Size((2**16 + 100,))
    assert torch.equal(
        _kept(implementation, shape, 0.5, _seed(device=device), device),
        mask_reference(shape, _seed(), 0, 0.5, None),
    )


def test_seeds_and_streams_are_masks_of_their_own(any_implementation, device):
    masks = [
        _kept(any_implementation, (400,), 0.5, _seed(seed, device), device, stream=stream)
        for seed in (0, 1, 2)
        for stream in (0, 1, 2)
    ]
    for number, one in enumerate(masks):
        for other in masks[:number]:
            assert 120 < int((one == other).sum()) < 280  # 200 +- 10 by chance


def test_numbers_wrap_round(implementation, device):
    """A tensor of more than 2**32 elements is more than a test has memory for; rows get there."""
    rows = torch.tensor([0, 2**32 // 8, 2**40, 3, 2**32 // 8 + 3], device=device)
    kept = _kept(implementation, (5, 8), 0.5, _seed(device=device), device, rows=rows)
    assert torch.equal(kept[0], kept[1]) and torch.equal(kept[0], kept[2]) and torch.equal(kept[3], kept[4])


def test_no_generator_is_touched(implementation, device):
    before = torch.get_rng_state()
    _kept(implementation, (100,), 0.5, _seed(device=device), device)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------------------------------------------------------
# Statistics, of the CPU path, which has the others' masks bit for bit

MANY = torch.Size((1000, 1000))


def _deviates(kept: torch.Tensor, share: float) -> float:
    """How many standard deviations the count of what stays is from what is expected."""
    count = kept.numel()
    return (float(kept.sum()) - count * (1 - share)) / (count * share * (1 - share)) ** 0.5


def _correlation(one: torch.Tensor, other: torch.Tensor, share: float) -> float:
    """The correlation of two masks, in standard deviations of chance."""
    centred = (one.double() - (1 - share)) * (other.double() - (1 - share))
    return float(centred.mean()) / (share * (1 - share)) * centred.numel() ** 0.5


def _assert_normal(deviates: list[float]) -> None:
    """Independent standard normal numbers: none too large, their squares' sum neither too large nor too small."""
    deviates = torch.tensor(deviates, dtype=torch.float64)
    assert float(deviates.abs().max()) < norm.isf(1e-4 / len(deviates)), deviates
    assert 1e-4 < chi2.sf(float(deviates.square().sum()), len(deviates)) < 1 - 1e-4, deviates


@pytest.mark.parametrize("share", (0.01, 0.3, 0.5, 0.8))
def test_the_share_that_stays(share):
    """Over everything, over rows, over columns, and over elements that are powers of two apart."""
    kept = _kept("torch", MANY, share, _seed(11))
    _assert_normal([_deviates(kept, share)])
    _assert_normal([_deviates(row, share) for row in kept])
    _assert_normal([_deviates(column, share) for column in kept.T])
    _assert_normal([_deviates(kept.flatten()[:: 2**step], share) for step in range(1, 14, 4)])


@pytest.mark.parametrize("share", (0.1, 0.5))
def test_neighbours_are_independent(share):
    kept = _kept("torch", MANY, share, _seed(12)).flatten()
    for distances in ((1, 2, 3, 4, 5, 7, 8), (16, 63, 64, 65, 128, 256), (1000, 1024, 4096, 65536)):
        _assert_normal([_correlation(kept[:-distance], kept[distance:], share) for distance in distances])


@pytest.mark.parametrize("share", (0.1, 0.5))
def test_runs_of_eight(share):
    """All patterns of eight neighbours come up as often as independent ones would."""
    kept = _kept("torch", MANY, share, _seed(13)).flatten()
    patterns = (kept.view(-1, 8).long() << torch.arange(8)).sum(1)
    counts = torch.bincount(patterns, minlength=256).double()
    ones = torch.tensor([pattern.bit_count() for pattern in range(256)])
    expected = len(patterns) * (1 - share) ** ones * share ** (8 - ones)
    likely = expected >= 5
    statistic = float(((counts - expected).square() / expected)[likely].sum())
    assert 1e-4 < chi2.sf(statistic, int(likely.sum()) - 1) < 1 - 1e-4


@pytest.mark.parametrize("what", ("seed", "stream", "bit of the seed"))
@pytest.mark.parametrize("share", (0.1, 0.5))
def test_masks_are_independent(share, what):
    """Of seeds that follow each other or differ in one bit, and of streams: at one element, and a few on."""
    masks = []
    for number in range(12):
        seed = {"seed": 1000 + number, "stream": 7, "bit of the seed": 1 << (5 * number)}[what]
        stream = number if what == "stream" else 0
        masks.append(_kept("torch", (200_000,), share, _seed(seed), stream=stream))
    for distance in (0, 1, 64):
        pairs = [(one, other) for number, one in enumerate(masks) for other in masks[:number]]
        _assert_normal([_correlation(one[distance:], other[: len(other) - distance], share) for one, other in pairs])


def test_one_element_over_many_seeds():
    """What a training sees of one number, step after step."""
    for start in (0, 2**40):
        kept = torch.stack([_kept("torch", (16,), 0.3, _seed(start + step)) for step in range(4000)])
        _assert_normal([_deviates(column, 0.3) for column in kept.T])
        _assert_normal([_correlation(column[:-1], column[1:], 0.3) for column in kept.T])


# ---------------------------------------------------------------------------------------------------------------------
# As an operator


def test_repeats_bit_for_bit(implementation, device, affordable, all_threads):
    affordable(3000 * 64)
    check_repeats(implementation, *_case(device, 3000, 64, dtype=torch.float32))


@pytest.mark.parametrize("shape", SHAPES)
def test_writes_every_element(implementation, device, poisoned_memory, shape):
    check(implementation, *_case(device, *shape))
    if shape:
        check(implementation, *_case(device, *shape, rows=random_ids(shape[0], 99, device=device)))


@pytest.mark.parametrize(
    "change, error, message",
    (
        ({"x": torch.arange(5)}, TypeError, "^x is torch.int64"),
        ({"share": 1.0}, ValueError, "^share=1.0"),
        ({"share": -0.1}, ValueError, "^share=-0.1"),
        ({"share": float("nan")}, ValueError, "^share=nan"),
        ({"stream": -1}, ValueError, "^stream=-1"),
        ({"stream": 2**31}, ValueError, "^stream=2147483648"),
        ({"seed": torch.tensor(1.0)}, TypeError, "^seed is torch.float32"),
        ({"seed": torch.tensor([1, 2])}, ValueError, r"^seed has shape \(2,\)"),
        ({"seed": torch.tensor(1, device="meta")}, ValueError, "^seed is on meta"),
        ({"rows": torch.arange(4)}, ValueError, r"^rows has shape \(4,\), expected \(5,\)"),
        ({"rows": torch.arange(5.0)}, TypeError, "^rows are torch.float32"),
        ({"rows": torch.arange(5, device="meta")}, ValueError, "^rows are on meta"),
        ({"x": random(), "rows": torch.arange(1)}, ValueError, "^rows has shape"),
    ),
)
def test_errors(any_implementation, change, error, message):
    arguments = {"x": random(5, 4), "share": 0.5, "seed": _seed()} | change
    with forced(any_implementation), pytest.raises(error, match=message):
        dropout(**arguments)


@pytest.mark.parametrize("rows", (None, [4, 0, 4, 9, 2]))
def test_registered(implementation, device, rows):
    rows = None if rows is None else torch.tensor(rows, device=device)
    check_registered(implementation, dropout_apply, random(5, 8, device=device), _seed(3, device), rows, 0.3, 1)


@pytest.mark.parametrize("with_rows", (False, True))
def test_compiled(implementation, device, with_rows):
    """The seed is an argument, as in a step that takes another one each time."""
    rows = random_ids(5, 30, device=device) if with_rows else None

    def operator(x):
        return dropout(x, 0.3, seeds[0], stream=1, rows=rows)

    seeds = torch.tensor([7, 8], device=device)
    check_compiled(implementation, operator, {"x": random(5, 3, 8, device=device)})
    torch._dynamo.reset()
    compiled = torch.compile(partial(dropout, share=0.3), fullgraph=True, backend="aot_eager")
    x = random(9, 8, device=device)
    with forced(implementation):
        for seed in seeds:
            assert torch.equal(compiled(x, seed=seed), dropout(x, 0.3, seed))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replayed_graph_follows_the_seed():
    x, seed = random(300, 64, dtype=torch.float32, device="cuda"), _seed(0, "cuda")
    dropout(x, 0.3, seed)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = dropout(x, 0.3, seed)
    for number in SEEDS:
        seed.fill_(number)
        graph.replay()
        assert torch.equal(out.cpu(), dropout(x.cpu(), 0.3, _seed(number)))


@pytest.mark.parametrize("target", TARGETS)
def test_machine_code(target):
    """Elements are read 16 bytes at a time, nothing is spilled or shared, and a multiprocessor's threads all fit."""
    pytest.importorskip("triton")
    from mde_fast.kernels.dropout.triton_kernels import accumulator, launch_sizes

    requests = []
    for dtype, storage in (*STORAGE.items(), ("float64", "fp64")):
        for width in (None, 64, 100):
            sizes = launch_sizes(getattr(torch, dtype))
            num_warps = sizes.pop("num_warps")
            signature = {"x_ptr": f"*{storage}", "seed_ptr": "*i64", "rows_ptr": "*i64", "out_ptr": f"*{storage}"}
            constants = {"WIDTH": width or 1, "STREAM": 3, "HAS_ROWS": width is not None}
            requests.append(
                Request(
                    "mde_fast.kernels.dropout.triton_kernels:dropout_kernel",
                    signature | {"count": "i32", "least": "i32", "scale": "fp64"},
                    constants | {"ACC": accumulator(getattr(torch, dtype)), **sizes},
                    target,
                    num_warps,
                )
            )
    for request, compiled in zip(requests, compile_many(requests)):
        assert compiled.shared == 0, request
        if target in NVIDIA:
            assert compiled.registers <= 40 and not compiled.spills and compiled.wide_loads > 0, (request, compiled)
