"""MelNet: what each value may depend on, shown by gradients; grids; the sizes of the source system; its mistakes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlib.errors import SpeechlibError
from speechlib.evaluation.influence import grid_influence
from speechlib.models.melnet import (
    BINS,
    FRAMES,
    MelNet,
    MelNetConfig,
    Recurrent,
    axis_of,
    grid_sizes,
    interleave,
    split,
)

SMALL = MelNetConfig(layers=(2, 1, 1), hidden=5, n_mixtures=2)


def build(config: MelNetConfig = SMALL, n_features=6, n_speakers=0, seed=0) -> MelNet:
    """Every learned first state away from zero: a test would not see which is taken."""
    torch.manual_seed(seed)
    model = MelNet(config, n_features, n_speakers).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(".first"):
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def dependencies(tier, values, condition=None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Whether the parameters of value (j, i) (rows) depend on a value, and on a value of the condition (columns)."""
    values = values.clone().requires_grad_()
    condition = None if condition is None else condition.clone().requires_grad_()
    inputs = [values] if condition is None else [values, condition]
    rows = [[] for _ in inputs]
    theta = tier(values, condition).transpose(1, 2).flatten(0, 2)  # (T F, 3K): in the order of generation
    for one in theta:
        for found, gradient in zip(rows, torch.autograd.grad(one.square().sum(), inputs, retain_graph=True)):
            found.append((gradient[0] != 0).t().flatten())
    found = [torch.stack(row) for row in rows]
    return found[0], (found[1] if condition is not None else None)


# -- what a value depends on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_value_depends_on_all_that_came_before_it_and_on_nothing_else(number):
    """Two layers are enough: 435 of 435 in a grid of 5 x 6; above the first tier also on the whole condition."""
    tier = build(replace(SMALL, layers=(2, 2, 2)), n_features=10).double().tiers[number - 1]
    F = tier.n_bins or 5
    values = torch.randn(1, F, 6, dtype=torch.double)
    condition = None if number == 1 else torch.randn(1, F, 6, dtype=torch.double)
    own, other = dependencies(tier, values, condition)
    assert torch.equal(own, torch.ones_like(own).tril(-1))
    assert other is None or other.all()


def test_influence_is_what_a_difference_says():
    tier = build().tiers[1]
    values, condition = torch.randn(3, 6), torch.randn(3, 6)
    own, other = grid_influence(tier, values, (1, 4), condition)
    heard = [[(i < 4 and (j <= 1 or i == 3)) or (i == 4 and j < 1) for i in range(6)] for j in range(3)]
    assert (own > 0).tolist() == heard
    assert (other > 0).all()
    nudged = values.double()
    nudged[0, 2] += 1e-5
    with torch.no_grad():
        both = tier.double()(torch.stack([values.double(), nudged]), condition.double().expand(2, -1, -1))
        a, b = both[:, 1, 4].square().sum(1) / 2
    assert own[0, 2] == pytest.approx(abs(b - a).item() / 1e-5, rel=1e-3)


def test_one_layer_sees_the_frame_before_and_the_past_of_the_bins_below():
    """Its streams do not hear each other: the past of higher bins is beyond them, but for the frame just before."""
    tier = build(replace(SMALL, layers=(1, 1, 1))).double().tiers[1]
    seen, _ = dependencies(tier, torch.randn(1, 3, 4, dtype=torch.double), torch.randn(1, 3, 4, dtype=torch.double))
    for i in range(4):
        for j in range(3):
            expected = [[(a < i and b <= j) or a == i - 1 or (a == i and b < j) for b in range(3)] for a in range(4)]
            assert seen[3 * i + j].view(4, 3).tolist() == expected


def test_backward_frequency_stream_stays_aligned():
    """Mistake 1 of the source system: bin j was given the state of bin F-1-j. Without the other streams, the parameters
    of frame i+1, bin j, change only where bins from j on of frame i are perturbed."""
    model = build(replace(SMALL, layers=(1,)))
    layer = model.tiers[0].layers[0]
    H = SMALL.hidden
    h = torch.randn(1, 1, 6, H, requires_grad=True)
    heard = layer.down(h[0].flip(1)).flip(1)
    with torch.no_grad():  # only what goes down the bins is mixed in
        layer.mix_t.weight[:, : 2 * H] = 0
    h_t = layer(h, torch.zeros(1, 1, 6, H), torch.zeros(1, 1, H))[0] - h
    torch.testing.assert_close(h_t[0], heard @ layer.mix_t.weight[:, 2 * H :].t() + layer.mix_t.bias)
    for j in range(6):
        (gradient,) = torch.autograd.grad(h_t[0, 0, j].sum(), h, retain_graph=True)
        assert (gradient[0, 0].abs().sum(-1) > 0).tolist() == [bin >= j for bin in range(6)]


def test_every_parameter_gets_a_gradient():
    """Mistake 2: the backward stream used the forward one's first states, and its own were never learned."""
    model = build(replace(SMALL, speaker_dim=3), n_speakers=2)
    grids = model.grids(torch.randn(2, 6, 8))
    sum(tier.nll(grid, torch.tensor([0, 1])).sum() for tier, grid in zip(model.tiers, grids)).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_a_stream_begins_in_its_own_learned_state():
    stream = Recurrent(4)
    torch.nn.init.normal_(stream.first)
    cell = torch.nn.LSTMCell(4, 4)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in stream.lstm.named_parameters()})
    x = torch.randn(3, 5, 4)
    h, c = (part.expand(3, -1) for part in stream.first)
    for t in range(5):
        h, c = cell(x[:, t], (h, c))
        torch.testing.assert_close(stream(x)[:, t], h)


def test_items_of_a_batch_do_not_see_each_other():
    model, x = build(), torch.randn(3, 6, 8)
    with torch.no_grad():
        together, alone = model(x), [model(x[i : i + 1]) for i in range(3)]
    for g, theta in enumerate(together):
        torch.testing.assert_close(theta, torch.cat([one[g] for one in alone]))


def test_first_tier_alone_has_a_centralised_stack_the_others_an_extractor():
    model = build()
    first, *others = model.tiers
    assert first.extractor is None
    assert all(layer.centre is not None for layer in first.layers)
    assert all(tier.extractor is not None and tier.input_c is None for tier in others)
    assert all(layer.centre is None for tier in others for layer in tier.layers)
    assert [len(tier.layers) for tier in model.tiers] == list(SMALL.layers)  # recurrent layers, nothing else


# -- grids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_tiers", range(1, 7))
def test_grids_and_merge_are_inverse_for_any_size(n_tiers):
    """Even and odd sizes alike: nothing is cut off (the source system drops the last row of an odd number)."""
    random = np.random.default_rng(n_tiers)
    for _ in range(6):
        F, T = 8 + int(random.integers(60)), 8 + int(random.integers(60))
        model = MelNet(MelNetConfig(layers=(1,) * n_tiers, hidden=1, n_mixtures=1), F)
        x = torch.randn(2, F, T)
        grids = model.grids(x)
        assert torch.equal(model.merge([grid.target for grid in grids]), x)
        assert [tuple(grid.target.shape[1:]) for grid in grids] == grid_sizes(n_tiers, F, T)
        assert all(torch.equal(grid.condition, model.merge([g.target for g in grids[:k]])) for k, grid in
                   enumerate(grids) if k)  # fmt: skip
        assert sum(int(grid.n_values) for grid in grids) == x.numel()


def test_split_takes_even_rows_first_and_either_order_comes_back():
    x = torch.arange(5)[None, :, None]
    even, odd = split(x, BINS)
    assert even.flatten().tolist() == [0, 2, 4]
    assert odd.flatten().tolist() == [1, 3]
    assert torch.equal(interleave(even, odd, BINS), x)
    four = x[:, :4]
    swapped = interleave(*reversed(split(four, BINS)), BINS)  # the paper's order: odd rows are the condition
    assert swapped.flatten().tolist() == [1, 0, 3, 2]
    with pytest.raises(SpeechlibError, match="2 even and 3 odd"):
        interleave(odd, even, BINS)


def test_tiers_of_the_source_system_have_its_sizes():
    assert [axis_of(tier) for tier in range(2, 7)] == [BINS, FRAMES, BINS, FRAMES, BINS]
    assert grid_sizes(6, 256, 200) == [(32, 50), (32, 50), (64, 50), (64, 100), (128, 100), (128, 200)]


def test_parts_keep_device_and_type():
    """Mistake 7: interleave made its result on the CPU, whatever it was given."""
    even = torch.zeros(1, 2, 3, dtype=torch.double, device="meta")
    whole = interleave(even, even, BINS)
    assert whole.device == even.device
    assert whole.dtype == torch.double
    assert whole.shape == (1, 4, 3)


def test_a_grid_too_small_for_its_tiers_is_refused():
    with pytest.raises(SpeechlibError, match="6 tiers cannot share 256 bins x 2 frames: no frames are left for tier 3"):
        grid_sizes(6, 256, 2)
    with pytest.raises(SpeechlibError, match="no bins are left for tier 2"):
        MelNet(MelNetConfig(layers=(1,) * 6, hidden=2), 4)
    with pytest.raises(SpeechlibError, match="no frames"):
        build().grids(torch.randn(1, 6, 1))
    with pytest.raises(SpeechlibError, match=r"wanted \(B, 6, T\)"):
        build().grids(torch.randn(1, 7, 8))


# -- padding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [7, 8])
def test_padding_does_not_change_the_loss(length):
    """Mistake 5: frames of padding were scored, and the extractor read them first on its way back through time."""
    model = build(replace(SMALL, layers=(1, 1, 1, 1, 1)), n_features=8)
    x = torch.randn(2, 8, length)
    padded = torch.cat([x, 9 * torch.randn(2, 8, 5)], dim=2)
    alone, beside = model.grids(x), model.grids(padded, torch.tensor([length, length]))
    for tier, one, other in zip(model.tiers, alone, beside):
        assert one.n_values == other.n_values
        with torch.no_grad():
            own, nll = tier.nll(one), tier.nll(other)
        torch.testing.assert_close(nll[..., : own.shape[2]], own)
        assert not nll[..., own.shape[2] :].any()


def test_two_lengths_side_by_side_are_each_as_alone():
    model, x = build(), torch.randn(2, 6, 12)
    lengths = torch.tensor([12, 7])
    together = [t.nll(g) for t, g in zip(model.tiers, model.grids(x, lengths))]
    for i, n in enumerate(lengths.tolist()):
        alone = [t.nll(g) for t, g in zip(model.tiers, model.grids(x[i : i + 1, :, :n]))]
        for both, one in zip(together, alone):
            torch.testing.assert_close(both[i].sum(), one.sum())


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "hidden", "parameters"),
    [
        ((12, 5, 4, 3, 2, 2), 16, 283_508),
        ((12, 5, 4, 3, 2, 2), 200, 40_746_580),
        ((12, 7, 6, 5, 4, 4), 200, 55_230_580),
    ],
)
def test_parameters_are_those_of_the_source_system(layers, hidden, parameters):
    """Mistake 4: it counts the projection before the first layer, so its 12 layers are 11 recurrent ones."""
    with torch.device("meta"):
        model = MelNet(MelNetConfig(tuple(n - 1 for n in layers), hidden, 10), 256)
    counts = [sum(p.numel() for p in tier.parameters()) for tier in model.tiers]
    H, K, F = hidden, 10, 32
    assert counts[0] == (layers[0] - 1) * (45 * H * H + 53 * H) + (F + 5) * H + 3 * K * (H + 1)
    for count, n in zip(counts[1:], layers[1:]):
        assert count == (n - 1) * (36 * H * H + 42 * H) + 24 * H * H + 54 * H + 3 * K * (H + 1)
    assert sum(counts) == parameters


# -- checkpointing -----------------------------------------------------------------------------------------------------


def gradients(model, x) -> tuple[list[torch.Tensor], int]:
    """Gradients of all parameters, and the values that the graph kept for them."""
    kept = 0

    def pack(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    model.train().zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = sum(tier.nll(grid).sum() for tier, grid in zip(model.tiers, model.grids(x)))
    held = kept
    loss.backward()
    return [p.grad for p in model.parameters()], held


def test_checkpointing_keeps_less_and_changes_no_gradient():
    model, x = build(), torch.randn(1, 6, 16)
    plain, much = gradients(model, x)
    for tier in model.tiers:
        tier.checkpoint = True
    again, little = gradients(model, x)
    assert little < 0.5 * much
    for one, other in zip(plain, again):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-7)


# -- speakers and statistics -------------------------------------------------------------------------------------------


def test_a_speaker_reaches_both_inputs_of_every_tier_and_nobody_adds_nothing():
    model = build(replace(SMALL, speaker_dim=3), n_speakers=2)
    for tier in model.tiers:
        t, f = tier.spoken(torch.tensor([0, 1, -1]))
        assert t.shape == f.shape == (3, 1, 1, SMALL.hidden)
        assert t[0].any()
        assert f[0].any()
        assert not torch.equal(t[0], t[1])
        assert not t[2].any()
        assert not f[2].any()
    x = torch.randn(2, 6, 8)
    with torch.no_grad():
        for one, other in zip(model(x, speaker=torch.tensor([0, 0])), model(x, speaker=torch.tensor([1, 1]))):
            assert (one != other).all(-1).all()
    with pytest.raises(SpeechlibError, match="MelNet of 2, counted from 0"):
        model(x, speaker=torch.tensor([0, 2]))
    with pytest.raises(SpeechlibError, match="was trained with speakers"):
        model(x)
    with pytest.raises(SpeechlibError, match="knows none"):
        build()(x, speaker=torch.tensor([0, 0]))


def test_limits_are_those_of_the_standardised_training_part():
    model = build(replace(SMALL, layers=(1,)), n_features=2)
    model.fit([0.0, 10.0], [1.0, 5.0], [-3.0, 0.0], [2.0, 30.0])
    assert model.limits.tolist() == [-3.0, 4.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"layers": ()}, "one number"), ({"layers": (2, 0)}, "one number"), ({"min_sigma": 0.0}, "must be positive")],
)
def test_configs_that_make_no_model_are_refused(changes, words):
    with pytest.raises(SpeechlibError, match=words):
        replace(SMALL, **changes)


def test_a_condition_of_another_size_is_refused():
    model = build()
    with pytest.raises(SpeechlibError, match="generates 3x8 needs a condition of that size or one more, got 3x6"):
        model.tiers[1](torch.randn(1, 3, 8), torch.randn(1, 3, 6))
    with pytest.raises(SpeechlibError, match="first tier takes no condition"):
        model.tiers[0](torch.randn(1, 3, 8), torch.randn(1, 3, 8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bfloat16_on_a_gpu_tells_the_loss_that_float32_tells_on_a_cpu():
    """With weights as far from zero as a training leaves them, and rows enough for the quick kernels of LSTMs."""
    model = build(replace(SMALL, hidden=48, n_mixtures=10), n_features=32, n_speakers=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    x = torch.randn(32, 32, 48).cumsum(2) / 4
    grids = model.grids(x)
    with torch.no_grad():
        expected = [tier.nll(grid).mean() for tier, grid in zip(model.tiers, grids)]
        model.cuda()
        with torch.autocast("cuda", torch.bfloat16):
            found = [tier.nll(grid).mean().cpu() for tier, grid in zip(model.tiers, model.grids(x.cuda()))]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=0, atol=0.01)
