"""Quantizers against slow oracles, hand-worked numbers and the properties that make codes mean something."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechlib.errors import SpeechlibError, UnknownName
from speechlib.models import shares
from speechlib.models.codebooks import INITS, initial_codebook, kmeans, nearest, perplexity
from speechlib.models.quantizers import (
    EMAQuantizer,
    GradientQuantizer,
    JointQuantizer,
    NoQuantizer,
    QuantizerConfig,
    SlicedQuantizer,
    SoftmaxQuantizer,
    codes_of,
    make_quantizer,
)

KINDS = [GradientQuantizer, EMAQuantizer, JointQuantizer]


# --- oracles: slow and obvious ---


def brute_force(rows, codebook):
    """Nearest code of each row, one distance at a time, in float64; ties go to the lower index."""
    found = []
    for row in rows.double():
        distances = [float(((row - code) ** 2).sum()) for code in codebook.double()]
        found.append(distances.index(min(distances)))
    return torch.tensor(found)


def ema_step(rows, codes, counts, sums, decay, epsilon):
    """Appendix A.1 of arXiv 1711.00937, a code at a time."""
    counts, sums = counts.clone(), sums.clone()
    for k in range(len(counts)):
        mine = [row for row, code in zip(rows, codes) if code == k]
        counts[k] = decay * counts[k] + (1 - decay) * len(mine)
        sums[k] = decay * sums[k] + (1 - decay) * sum(mine, torch.zeros_like(sums[k]))
    total = counts.sum()
    codebook = torch.stack(
        [s / ((c + epsilon) / (total + len(counts) * epsilon) * total) for s, c in zip(sums, counts)]
    )
    return counts, sums, codebook


def source_rows(z):
    """The source system's rows, mistake and all: (B, C, T) laid out as (C, T, B) and cut every C values."""
    values = [z[b, c, t] for c in range(z.shape[1]) for t in range(z.shape[2]) for b in range(z.shape[0])]
    return torch.stack(values).reshape(-1, z.shape[1])


# --- nearest codes ---


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 9), st.integers(0, 10_000))
def test_nearest_equals_brute_force(n_rows, codebook_size, code_dim, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n_rows, code_dim, generator=generator)
    codebook = torch.randn(codebook_size, code_dim, generator=generator)
    assert torch.equal(nearest(rows, codebook), brute_force(rows, codebook))


def test_nearest_in_pieces_is_nearest_of_all():
    generator = torch.Generator().manual_seed(0)
    rows, codebook = torch.randn(5000, 16, generator=generator), torch.randn(64, 16, generator=generator)
    distances = torch.cdist(rows.double(), codebook.double())
    assert torch.equal(nearest(rows, codebook), distances.argmin(1))


def test_autocast_does_not_change_codes():
    torch.manual_seed(0)
    z_e, quantizer = torch.randn(4, 16, 100), EMAQuantizer(64, 16).eval()
    expected = quantizer(z_e)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = quantizer(z_e)
    assert torch.equal(found.codes, expected.codes)
    assert found.z_q.dtype == torch.float32
    # the same in bf16 would have picked others: the test can see a difference
    rows = z_e.transpose(1, 2).reshape(-1, 16)
    rough = (rows.bfloat16() @ quantizer.codebook.bfloat16().t()).float() * -2 + quantizer.codebook.square().sum(1)
    assert not torch.equal(rough.argmin(1), expected.codes.flatten())


# --- layout (mistake 1 of the source system, VS-09) ---


@pytest.mark.parametrize("kind", KINDS)
def test_permuting_time_permutes_codes(kind):
    torch.manual_seed(0)
    quantizer, z_e, order = kind(44, 8, init="normal").eval(), torch.randn(3, 8, 24), torch.randperm(24)
    assert torch.equal(quantizer(z_e[:, :, order]).codes, quantizer(z_e).codes[:, order])


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_an_item_do_not_depend_on_the_batch(kind):
    torch.manual_seed(0)
    quantizer, z_e = kind(44, 8, init="normal").eval(), torch.randn(4, 8, 24)
    together = quantizer(z_e)
    for i in range(4):
        alone = quantizer(z_e[i : i + 1])
        assert torch.equal(alone.codes[0], together.codes[i])
        assert torch.equal(alone.z_q[0], together.z_q[i])


@pytest.mark.parametrize("kind", KINDS)
def test_source_layout_reproduces_the_sources_rows(kind):
    torch.manual_seed(0)
    quantizer, z_e = kind(20, 6, init="normal", source_layout=True).eval(), torch.randn(2, 6, 12)
    codes = brute_force(source_rows(z_e), quantizer.codebook.detach())
    found = quantizer(z_e)
    assert torch.equal(found.codes, codes.reshape(2, 12))
    assert torch.equal(source_rows(found.z_q), quantizer.codebook.detach()[codes])
    # and it has the mistake: alone, an item gets other codes than in a batch
    assert not torch.equal(quantizer(z_e[:1]).codes[0], found.codes[0])


# --- loss, straight-through, perplexity by hand (VS-10) ---


def two_codes(kind):
    quantizer = kind(2, 2, init="normal")
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [2.0, 2.0]]))
    return quantizer


def test_losses_by_hand():
    # rows (1, 0), (2, 1), (0, 0) of one item; nearest codes 0, 1, 0; squared errors 1, 1, 0 over 6 values
    z_e = torch.tensor([[[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]]], requires_grad=True)
    quantizer = two_codes(GradientQuantizer)
    found = quantizer(z_e)
    assert found.codes.tolist() == [[0, 1, 0]]
    assert found.losses["commitment"].item() == pytest.approx(2 / 6)
    assert found.losses["codebook"].item() == pytest.approx(2 / 6)

    # commitment pulls z_e only: d/dz mean((z - e)^2) = 2 (z - e) / 6
    (z_gradient,) = torch.autograd.grad(found.losses["commitment"], z_e, retain_graph=True)
    torch.testing.assert_close(z_gradient, torch.tensor([[[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]]) / 3)
    assert torch.autograd.grad(
        found.losses["commitment"], quantizer.codebook, allow_unused=True, retain_graph=True
    ) == (None,)
    # the codebook loss moves codes only, each towards its own rows
    (e_gradient,) = torch.autograd.grad(found.losses["codebook"], quantizer.codebook, retain_graph=True)
    torch.testing.assert_close(e_gradient, torch.tensor([[-1.0, 0.0], [0.0, 1.0]]) / 3)
    assert torch.autograd.grad(found.losses["codebook"], z_e, allow_unused=True) == (None,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_straight_through(kind, training):
    torch.manual_seed(0)
    quantizer = kind(10, 4, init="normal").train(training)
    codebook = quantizer.codebook.detach().clone()
    z_e, weight = (1e3 * torch.randn(2, 4, 7)).requires_grad_(), torch.randn(2, 4, 7)
    found = quantizer(z_e)
    # the value is the code itself, not z_e + (e_k - z_e) with its rounding
    assert torch.equal(found.z_q, codebook[found.codes].transpose(1, 2))
    (found.z_q * weight).sum().backward()
    assert torch.equal(z_e.grad, weight)
    if kind is not EMAQuantizer:  # what the decoder wants moves the encoder, not the codebook
        assert quantizer.codebook.grad is None


def test_joint_training_moves_encoder_and_codebook_by_one_term():
    """VW-09: rows (1, 0), (2, 1), (0, 0) and codes (0, 0), (2, 2) meet half-way: opposite gradients of one loss."""
    z_e = torch.tensor([[[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]]], requires_grad=True)
    quantizer = two_codes(JointQuantizer)
    found = quantizer(z_e)
    assert found.losses.keys() == {"joint"}
    assert found.losses["joint"].item() == pytest.approx(2 / 6)
    found.losses["joint"].backward()
    torch.testing.assert_close(z_e.grad, torch.tensor([[[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]]) / 3)
    torch.testing.assert_close(quantizer.codebook.grad, torch.tensor([[-1.0, 0.0], [0.0, 1.0]]) / 3)


def test_perplexity_by_hand():
    assert perplexity(torch.tensor([0, 0, 0]), 4).item() == pytest.approx(1)
    assert perplexity(torch.tensor([[0, 1], [2, 3]]), 4).item() == pytest.approx(4)
    shares = [1 / 2, 1 / 4, 1 / 4]
    expected = math.exp(-sum(p * math.log(p) for p in shares))
    assert perplexity(torch.tensor([0, 0, 1, 2]), 10).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_embed_gives_the_vectors_of_the_codes(kind):
    torch.manual_seed(0)
    quantizer, z_e = kind(10, 4, init="normal").eval(), torch.randn(2, 4, 7)
    found = quantizer(z_e)
    assert torch.equal(quantizer.embed(found.codes), found.z_q)


# --- EMA (VS-10, mistake 8) ---


def test_ema_step_by_hand():
    quantizer = two_codes(EMAQuantizer)
    quantizer.decay, quantizer.epsilon = 0.5, 0.0
    quantizer.sums.copy_(quantizer.codebook)  # counts are 1
    quantizer(torch.tensor([[[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]]]))
    # code 0 is chosen by (1, 0) and (0, 0): count 0.5 * 1 + 0.5 * 2, sum 0.5 * (0, 0) + 0.5 * (1, 0)
    # code 1 by (2, 1): count 1, sum 0.5 * (2, 2) + 0.5 * (2, 1)
    torch.testing.assert_close(quantizer.counts, torch.tensor([1.5, 1.0]))
    torch.testing.assert_close(quantizer.sums, torch.tensor([[0.5, 0.0], [2.0, 1.5]]))
    torch.testing.assert_close(quantizer.codebook, torch.tensor([[1 / 3, 0.0], [2.0, 1.5]]))


def test_ema_steps_equal_the_slow_ones():
    torch.manual_seed(0)
    quantizer = EMAQuantizer(12, 5, decay=0.9, epsilon=1e-3)
    counts, sums, codebook = quantizer.counts.clone(), quantizer.sums.clone(), quantizer.codebook.clone()
    for _ in range(5):
        z_e = torch.randn(3, 5, 20)
        rows = z_e.transpose(1, 2).reshape(-1, 5)
        codes = brute_force(rows, codebook)
        assert torch.equal(quantizer(z_e).codes.flatten(), codes)
        counts, sums, codebook = ema_step(rows, codes, counts, sums, 0.9, 1e-3)
        torch.testing.assert_close(quantizer.counts, counts)
        torch.testing.assert_close(quantizer.sums, sums)
        torch.testing.assert_close(quantizer.codebook, codebook)


def test_ema_codebook_is_a_buffer_updated_in_place():
    quantizer = EMAQuantizer(8, 4)
    before, place = quantizer.codebook.clone(), quantizer.codebook.data_ptr()
    quantizer(torch.randn(2, 4, 10))
    assert not list(quantizer.parameters())
    assert quantizer.codebook.data_ptr() == place
    assert not torch.equal(quantizer.codebook, before)


@pytest.mark.parametrize("kind", KINDS)
def test_eval_moves_no_buffer(kind):
    torch.manual_seed(0)
    options = {"reseed": 0.5} if kind is EMAQuantizer else {}
    quantizer = kind(8, 4, init="kmeans", **options).eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.randn(2, 4, 10))
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


def test_ema_finds_the_means_of_clusters():
    torch.manual_seed(0)
    means = torch.tensor([[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0], [0.0, -5.0]])
    quantizer = EMAQuantizer(4, 2, decay=0.9, init="kmeans", reseed=0.2)
    for _ in range(200):
        rows = means[torch.randint(4, (400,))] + 0.1 * torch.randn(400, 2)
        quantizer(rows.t()[None])
    distances = torch.cdist(means, quantizer.codebook)
    assert sorted(distances.argmin(1).tolist()) == [0, 1, 2, 3]
    assert distances.min(1).values.max() < 0.05


def test_dead_codes_are_reseeded_from_the_batch():
    torch.manual_seed(0)
    quantizer = EMAQuantizer(4, 2, decay=0.5, reseed=0.25)
    far = torch.tensor([[0.0, 0.0], [1.0, 0.0], [900.0, 900.0], [-900.0, 900.0]])  # nobody chooses the last two
    quantizer.codebook.copy_(far)
    quantizer.sums.copy_(far)
    rows = torch.randn(50, 2)
    while torch.equal(quantizer.codebook[2:], far[2:]) or quantizer.codebook.abs().max() > 100:
        quantizer(rows.t()[None])
    for code in quantizer.codebook[2:]:
        assert (rows == code).all(1).any()  # a row of the batch, to the bit
    torch.testing.assert_close(quantizer.sums, quantizer.codebook * quantizer.counts[:, None], rtol=1e-3, atol=1e-3)
    assert quantizer(rows.t()[None]).codes.unique().numel() > 2


def test_without_reseeding_dead_codes_stay():
    quantizer = EMAQuantizer(2, 2, decay=0.5)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [900.0, 900.0]]))
    quantizer.sums.copy_(quantizer.codebook)
    for _ in range(5):
        quantizer(torch.randn(1, 2, 20))
    assert quantizer.codebook[1].min() > 800


# --- k-means start, seeds, slices ---


@pytest.mark.parametrize("kind", KINDS)
def test_kmeans_start_takes_the_first_batch_once(kind):
    torch.manual_seed(0)
    centres = torch.tensor([[4.0, 4.0], [-4.0, 4.0], [0.0, -4.0]])
    rows = centres.repeat(30, 1) + 0.1 * torch.randn(90, 2)
    quantizer = kind(3, 2, init="kmeans")
    quantizer(rows.t()[None])
    inertia = torch.cdist(rows, quantizer.codebook.detach()).min(1).values.square().mean()
    assert inertia < 20  # from whatever rows it began, far below the variance (32) of the data
    quantizer(100 + torch.randn(1, 2, 50))
    assert quantizer.codebook.min() < 0  # a second batch is no new start
    restored = kind(3, 2, init="kmeans")
    restored.load_state_dict(quantizer.state_dict())
    restored(100 + torch.randn(1, 2, 50))
    assert restored.codebook.min() < 0  # nor is a resumed run


def test_kmeans_lowers_inertia_to_a_fixed_point():
    torch.manual_seed(0)
    rows = torch.randn(300, 4)

    def inertia(n_iter):
        torch.manual_seed(1)
        return torch.cdist(rows, kmeans(rows, 10, n_iter)).min(1).values.square().sum().item()

    path = [inertia(n) for n in (0, 1, 2, 5, 20, 100)]
    assert path == sorted(path, reverse=True)
    torch.manual_seed(1)
    centres = kmeans(rows, 10, 100)
    codes = brute_force(rows, centres)
    for k, centre in enumerate(centres):
        torch.testing.assert_close(centre, rows[codes == k].mean(0), rtol=1e-4, atol=1e-4)


def test_kmeans_with_fewer_rows_than_clusters():
    rows = torch.randn(3, 4)
    assert torch.cdist(kmeans(rows, 10), rows).min(1).values.max() < 1e-5


def test_same_seed_same_codebook():
    def trained():
        torch.manual_seed(5)
        quantizer = EMAQuantizer(16, 4, decay=0.5, init="kmeans", reseed=0.3)
        for _ in range(5):
            quantizer(torch.randn(2, 4, 30))
        return quantizer.state_dict()

    first, second = trained(), trained()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", KINDS)
def test_slices_equal_one_quantizer_per_slice(kind):
    torch.manual_seed(0)
    slices = [kind(7, 2, init="normal"), kind(30, 5, init="normal"), kind(4, 1, init="normal")]
    sliced = SlicedQuantizer(slices).eval()
    z_e = torch.randn(3, 8, 11)
    found = sliced(z_e)
    assert found.codes.shape == (3, 3, 11)
    for g, part in enumerate(z_e.split([2, 5, 1], dim=1)):
        rows = part.transpose(1, 2).reshape(-1, part.shape[1])
        assert torch.equal(found.codes[:, g].flatten(), brute_force(rows, sliced.codebooks[g].detach()))
    assert torch.equal(sliced.embed(found.codes), found.z_q)
    term = found.losses["joint" if kind is JointQuantizer else "commitment"]
    assert term.item() == pytest.approx((found.z_q - z_e).square().mean().item(), rel=1e-5)
    expected = sum(perplexity(found.codes[:, g], q.codebook_size) for g, q in enumerate(slices)) / 3
    assert sliced.perplexity(found.codes).item() == pytest.approx(expected.item())


# --- starts, the softmax, no quantizer, the factory (VW-09, VW-21) ---


@pytest.mark.parametrize("shape", [(512, 64), (16, 64)])
def test_starts_have_the_spread_they_are_named_for(shape):
    torch.manual_seed(0)
    codebook_size, code_dim = shape
    start = {init: initial_codebook(*shape, init) for init in INITS}
    assert all(codebook.shape == shape for codebook in start.values())
    for init, limit in (("uniform", 1 / codebook_size), ("unit_scaling", 1.7 * (3 / codebook_size) ** 0.5)):
        assert start[init].abs().max() <= limit
        assert start[init].std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert start["normal"].std().item() == pytest.approx(1, rel=0.05)
    assert start["orthogonal"].square().sum().item() == pytest.approx(min(shape), rel=1e-4)
    few = start["orthogonal"] if codebook_size < code_dim else start["orthogonal"].t()  # the shorter side
    torch.testing.assert_close(few @ few.t(), torch.eye(min(shape)), rtol=0, atol=1e-5)


def test_kl_to_the_uniform_prior_in_closed_form():
    quantizer = SoftmaxQuantizer(5, 3)
    assert quantizer(torch.full((2, 5, 7), 3.0)).losses["kl"].item() == pytest.approx(0, abs=1e-6)
    one_hot = torch.zeros(2, 5, 7)
    one_hot[:, 2] = 1e4
    assert quantizer(one_hot).losses["kl"].item() == pytest.approx(math.log(5))
    halves = torch.full((1, 5, 1), -1e4)
    halves[0, :2] = 0.0  # evenly one of two
    assert quantizer(halves).losses["kl"].item() == pytest.approx(math.log(5) - math.log(2))
    logits = torch.randn(2, 5, 7, requires_grad=True)
    quantizer(logits).losses["kl"].backward()
    q = logits.detach().softmax(1)
    entropy = -(q * q.log()).sum(1, keepdim=True)
    torch.testing.assert_close(logits.grad, q * (q.log() + entropy) / 14)  # d/dz of -entropy, mean of 14 steps


def test_a_softmax_gives_the_vector_of_its_code_and_the_gradient_of_the_expectation():
    torch.manual_seed(0)
    quantizer, logits, weight = SoftmaxQuantizer(6, 4), torch.randn(2, 6, 9, requires_grad=True), torch.randn(2, 4, 9)
    found = quantizer(logits)
    assert torch.equal(found.codes, logits.argmax(1))
    assert torch.equal(found.z_q, quantizer.embed(found.codes))  # codes are all that a decoder is told
    got = torch.autograd.grad((found.z_q * weight).sum(), [logits, quantizer.codebook])
    expectation = sum(logits.softmax(1)[:, k, None] * quantizer.codebook[k][:, None] for k in range(6))
    expected = torch.autograd.grad((expectation * weight).sum(), [logits, quantizer.codebook])
    for one, other in zip(got, expected):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    with pytest.raises(SpeechlibError, match="logits of 4 codes, a codebook of 6"):
        quantizer(torch.randn(2, 4, 9))


def test_a_plain_autoencoder_passes_vectors_on_and_says_that_it_has_no_codes():
    quantizer, z_e = make_quantizer(QuantizerConfig(quantizer="none")), torch.randn(2, 4, 7, requires_grad=True)
    found = quantizer(z_e)
    assert isinstance(quantizer, NoQuantizer)
    assert found.losses == {}
    assert torch.equal(found.z_q, z_e)
    found.z_q.sum().backward()
    assert torch.equal(z_e.grad, torch.ones(2, 4, 7))
    for ask in (lambda: codes_of(found), lambda: quantizer.embed(None), lambda: quantizer.codebook):
        with pytest.raises(SpeechlibError, match="has no codes"):
            ask()


@pytest.mark.parametrize(
    ("kind", "cls"),
    [("gradient", GradientQuantizer), ("joint", JointQuantizer), ("ema", EMAQuantizer), ("softmax", SoftmaxQuantizer)],
)
def test_the_factory_makes_what_the_config_says(kind, cls):
    config = QuantizerConfig(quantizer=kind, codebook_size=9, code_dim=6, codebook_init="orthogonal")
    quantizer = make_quantizer(config)
    assert isinstance(quantizer, cls)
    assert quantizer.codebook.shape == (9, 6)
    assert quantizer(torch.randn(2, config.encoder_channels, 5)).z_q.shape == (2, 6, 5)
    if kind != "softmax":
        sliced = make_quantizer(QuantizerConfig(quantizer=kind, codebook_size=9, code_dim=6, slices=(2, 4)))
        assert [type(q) for q in sliced.slices] == [cls, cls]
        assert [tuple(codebook.shape) for codebook in sliced.codebooks] == [(9, 2), (9, 4)]


def test_the_factory_passes_every_choice_on():
    config = QuantizerConfig(
        quantizer="ema", code_dim=4, ema_decay=0.5, reseed=0.1, codebook_init="kmeans", source_layout=True
    )
    quantizer = make_quantizer(config)
    assert (quantizer.decay, quantizer.reseed, quantizer.source_layout) == (0.5, 0.1, True)
    assert not quantizer.started


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantizer": "emma"}, "Did you mean 'ema'"),
        ({"codebook_init": "orthogonl"}, "Did you mean 'orthogonal'"),
        ({"kl_cost": -1.0}, "kl_cost must not be negative"),
        ({"quantizer": "softmax", "code_dim": 4, "slices": (2, 2)}, "neither slices"),
        ({"quantizer": "softmax", "codebook_init": "kmeans"}, "no vectors that k-means could cluster"),
    ],
)
def test_choices_that_cannot_be(changes, words):
    with pytest.raises((SpeechlibError, UnknownName), match=words):
        QuantizerConfig(**changes)


def test_statistics_are_summed_over_processes(tmp_path):
    """Two processes with half a batch each end with the codebook of one process with the whole batch."""
    context = torch.multiprocessing.get_context("spawn")
    processes = [context.Process(target=_half, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)  # reseeded and k-means codes included

    torch.manual_seed(0)
    alone, z_e = EMAQuantizer(6, 3, decay=0.5), torch.randn(2, 3, 40)
    alone(z_e)
    torch.testing.assert_close(first["plain.codebook"], alone.codebook)
    torch.testing.assert_close(first["plain.counts"], alone.counts)


def _half(rank, folder):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    quantizers = torch.nn.ModuleDict({"plain": EMAQuantizer(6, 3, decay=0.5)})
    z_e = torch.randn(2, 3, 40)
    with shares.split(rank, 2):
        quantizers["plain"](z_e[rank : rank + 1])
        quantizers["lively"] = EMAQuantizer(30, 3, decay=0.1, init="kmeans", reseed=0.5)
        torch.manual_seed(rank)  # processes draw differently, and yet agree
        for _ in range(3):
            quantizers["lively"](torch.randn(1, 3, 40))
    torch.save(quantizers.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


# --- bad input ---


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 8]], "codes run from 0 to 8, the codebook has 8"),
        ([[-1, 3]], "codes run from -1 to 3, the codebook has 8"),
        ([[0.0]], "torch.float32: wanted whole numbers"),
        ([0, 1], r"codes of shape \(2,\)"),
    ],
)
def test_what_is_no_code_of_the_codebook_has_no_vector(codes, message):
    with pytest.raises(SpeechlibError, match=message):
        EMAQuantizer(8, 4).embed(torch.tensor(codes))


def test_codes_of_other_slices_have_no_vectors():
    sliced = SlicedQuantizer([EMAQuantizer(8, 4), EMAQuantizer(8, 3)])
    with pytest.raises(SpeechlibError, match="codes of 3 slices, the quantizer has 2"):
        sliced.embed(torch.zeros(1, 3, 5, dtype=torch.long))
    with pytest.raises(SpeechlibError, match=r"wanted whole numbers \(B, 2, L\)"):
        sliced.embed(torch.zeros(1, 5, dtype=torch.long))


def test_clear_errors():
    with pytest.raises(SpeechlibError, match="6 channels, codes of 4"):
        EMAQuantizer(8, 4)(torch.randn(1, 6, 5))
    with pytest.raises(SpeechlibError, match="6 channels, slices of .* = 7"):
        SlicedQuantizer([EMAQuantizer(8, 4), EMAQuantizer(8, 3)])(torch.randn(1, 6, 5))
    with pytest.raises(SpeechlibError, match="at least 1 code"):
        EMAQuantizer(0, 4)
    with pytest.raises(SpeechlibError, match="1.0"):
        EMAQuantizer(8, 4, decay=1.0)
    with pytest.raises(UnknownName, match="Did you mean 'kmeans'"):
        GradientQuantizer(8, 4, init="k-means")
