"""MelNet drawn value by value with remembered states: the same as the whole network for every value, only sooner."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from speechlib.errors import SpeechlibError, UnknownName
from speechlib.generation import melnet
from speechlib.generation.eager_melnet import EagerTier, full_precision
from speechlib.generation.graph_melnet import GraphTier
from speechlib.generation.melnet import Drawing
from speechlib.models.melnet import MelNet, MelNetConfig, Tier, grid_sizes

CONFIG = MelNetConfig(layers=(2, 1, 1, 1), hidden=10, n_mixtures=3, speaker_dim=3)
F, T = 13, 17


@pytest.fixture(scope="module")
def model() -> MelNet:
    """Weights large enough to be seen, first states of their own, samples kept where the network stays sane."""
    torch.manual_seed(0)
    model = MelNet(CONFIG, F, n_speakers=2).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(".first"):
            torch.nn.init.normal_(parameter, std=0.5)
    mean = torch.linspace(-3, 3, F)
    return model.fit(mean, torch.full((F,), 2.0), mean - 5, mean + 5)


SPEAKERS = torch.tensor([0, 1, -1])


@pytest.fixture(scope="module")
def grids(model):
    torch.manual_seed(1)
    return model.grids(torch.randn(3, F, T))


def drawn(model, grids, number, n_clips=3, draw=melnet.draw_tier, **options):
    tier, grid = model.tiers[number - 1], grids[number - 1]
    uniform = torch.rand(3, *grid.target.shape[1:], 2, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    condition = None if grid.condition is None else grid.condition[:n_clips]
    return draw(tier, uniform[:n_clips], condition, SPEAKERS[:n_clips], **options)


@pytest.mark.parametrize("path", ["numba", "eager"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_remembered_states_give_the_parameters_of_teacher_forcing(model, grids, number, path):
    tier, grid = model.tiers[number - 1], grids[number - 1]
    with torch.no_grad():
        expected = tier(grid.target, grid.condition, SPEAKERS)
    found = melnet.cached_parameters(tier, grid.target, grid.condition, SPEAKERS, path)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("number", [1, 4])
def test_samples_are_those_of_a_whole_pass_for_every_value(model, grids, number):
    """Mistake 6 of the source system: 51,200 passes over a growing grid."""
    drawing = Drawing(0.9, 0.8, (-2.0, 2.0))
    slow = drawn(model, grids, number, draw=melnet.rerun, drawing=drawing)
    assert slow.std() > 0.3
    torch.testing.assert_close(drawn(model, grids, number, drawing=drawing), slow, rtol=0, atol=1e-4)


def test_clips_side_by_side_are_each_as_alone(model, grids):
    """Five rows or one: other products, the same numbers."""
    both = drawn(model, grids, 3, drawing=Drawing(limits=(-2.5, 2.5)))
    alone = drawn(model, grids, 3, n_clips=1, drawing=Drawing(limits=(-2.5, 2.5)))
    torch.testing.assert_close(both[:1], alone, rtol=0, atol=1e-4)


def test_limits_hold_and_temperature_0_takes_the_means(model, grids):
    """Mistake 6: samples were not clamped."""
    assert drawn(model, grids, 1, drawing=Drawing(5.0, limits=(-1.0, 0.5))).aminmax() == (-1.0, 0.5)
    tier = model.tiers[0]
    sure = drawn(model, grids, 1, drawing=Drawing(0.0, 0.0, (-9.0, 9.0)))
    theta = melnet.cached_parameters(tier, sure, None, SPEAKERS)
    logits, mean, _ = theta.chunk(3, dim=-1)
    torch.testing.assert_close(mean.gather(-1, logits.argmax(-1, keepdim=True))[..., 0], sure, rtol=0, atol=1e-4)


def test_stages_are_coarse_pictures_of_the_result_in_the_units_of_the_features(model):
    made = melnet.generate(model, T, n_clips=2, speaker=SPEAKERS[:2], seed=3)
    assert made.features.shape == (2, F, T)
    for number, stage in enumerate(made.stages, 1):
        bins, step = melnet.bins_of(model, number), melnet.frame_step(model, number)
        torch.testing.assert_close(stage, made.features[:, bins][..., ::step])
    x = model.inputs(made.features)
    assert model.limits[0] - 1e-4 <= x.min() and x.max() <= model.limits[1] + 1e-4  # noqa: PT018
    assert [tuple(stage.shape[1:]) for stage in made.stages] == [(4, 9), (7, 9), (7, 17), (13, 17)]


def test_a_clip_is_a_function_of_its_seed_and_place(model):
    two = melnet.generate(model, 6, n_clips=2, speaker=SPEAKERS[:2], seed=3).features
    one = melnet.generate(model, 6, n_clips=1, speaker=SPEAKERS[:1], seed=3).features
    torch.testing.assert_close(two[:1], one, rtol=0, atol=1e-3)
    assert not torch.allclose(two[0], two[1])
    assert not torch.allclose(melnet.generate(model, 6, speaker=SPEAKERS[:1], seed=4).features, one)


@pytest.mark.parametrize("length", [1, 6, 7, T])
def test_a_clip_begins_with_its_prime(model, length):
    prime = 2 * torch.randn(F, length, generator=torch.Generator().manual_seed(5)).clamp(-2, 2)
    made = melnet.generate(model, T, n_clips=2, speaker=SPEAKERS[:2], prime=prime, seed=1).features
    torch.testing.assert_close(made[..., :length], prime.expand(2, -1, -1), rtol=0, atol=1e-5)
    free = melnet.generate(model, T, n_clips=2, speaker=SPEAKERS[:2], seed=1).features
    assert length == T or not torch.allclose(made[..., length:], free[..., length:])


def test_upsampling_keeps_the_tiers_of_the_recording(model):
    real = torch.linspace(-3, 3, F)[:, None] + torch.randn(2, F, T, generator=torch.Generator().manual_seed(6))
    for n_real in (1, 3, 4):
        made = melnet.upsample(model, real, n_real, speaker=SPEAKERS[:2])
        bins, step = melnet.bins_of(model, n_real), melnet.frame_step(model, n_real)
        torch.testing.assert_close(made.stages[n_real - 1], real[:, bins][..., ::step])
        assert torch.equal(made.features, made.stages[-1])
        assert (n_real == 4) == torch.allclose(made.features, real, atol=1e-5)


def test_straight_lines_keep_the_coarse_grid_and_halve_the_way_between(model):
    real = torch.randn(2, F, T, generator=torch.Generator().manual_seed(7))
    for n_real in (1, 2, 3, 4):
        bins, step = melnet.bins_of(model, n_real), melnet.frame_step(model, n_real)
        lines = melnet.stretch(model, real, n_real)
        torch.testing.assert_close(lines[:, bins][..., ::step], real[:, bins][..., ::step])
    torch.testing.assert_close(melnet.stretch(model, real, 3)[:, 1], (real[:, 0] + real[:, 2]) / 2)
    ramp = torch.arange(F)[:, None] + 2.0 * torch.arange(T)
    torch.testing.assert_close(melnet.stretch(model, ramp[None])[0], ramp)


FEATURES = torch.zeros(1, F, T)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("4 tiers cannot share 13 bins x 1 frames: no frames are left for tier 3. Take fewer tiers", {"n_frames": 1}),
        ("13 bins x 0 frames", {"n_frames": 0}),
        ("a grid of 13 bins x -4 frames has no values", {"n_frames": -4}),
        ("prime of 9 frames is longer than the clip of 8: cut it", {"prime": torch.zeros(F, 9)}),
        ("the prime has no frames: leave it out", {"prime": torch.zeros(F, 0)}),
        ("features of 12 bins, the model was made for 13", {"prime": torch.zeros(12, 4)}),
        ("features are not finite", {"prime": torch.full((F, 4), torch.nan)}),
        (r"prime of shape \(3, 13, 4\) for 2 clips", {"prime": torch.zeros(3, F, 4), "n_clips": 2}),
        ("n_clips 0 must be 1 or more", {"prime": torch.zeros(F, 4), "n_clips": 0}),
        ("n_clips 0 must be 1 or more", {"n_clips": 0}),
        ("seed -1", {"seed": -1}),
        ("temperature -1", {"temperature": -1}),
        ("temperature nan", {"temperature": float("nan")}),
        ("was trained with speakers", {"speaker": None}),
        (r"speakers \[2\] for a MelNet of 2", {"speaker": torch.tensor([2])}),
        ("2 speakers for 1 clips", {"speaker": torch.tensor([0, 1])}),
    ],
)
def test_what_cannot_be_generated_is_told(model, message, options):
    with pytest.raises(SpeechlibError, match=message):
        melnet.generate(model, **{"n_frames": 8, "speaker": SPEAKERS[:1]} | options)


@pytest.mark.parametrize(
    ("message", "features", "n_real"),
    [
        (r"n_real 5 must lie in 1\.\.4", FEATURES, 5),
        ("4 tiers cannot share 13 bins x 1 frames", FEATURES[..., :1], 1),
        ("features of 12 bins, the model was made for 13", FEATURES[:, 1:], 1),
        ("features are not finite", FEATURES / 0, 1),
    ],
)
def test_what_cannot_be_made_finer_is_told(model, message, features, n_real):
    with pytest.raises(SpeechlibError, match=message):
        melnet.upsample(model, features, n_real, speaker=SPEAKERS[:1])


def test_a_diverged_model_draws_nothing():
    model = MelNet(replace(CONFIG, speaker_dim=0), F)
    with torch.no_grad():
        model.tiers[2].layers[0].mix_f.weight[0, 0] = torch.nan
    with pytest.raises(SpeechlibError, match=r"not finite \(tiers.2.layers.0.mix_f.weight\).*earlier checkpoint"):
        melnet.generate(model, T)


def test_more_tiers_than_bins_are_refused_before_anything_is_drawn():
    with pytest.raises(SpeechlibError, match="6 tiers cannot share 3 bins x 64 frames: no bins are left for tier 2"):
        MelNet(MelNetConfig((1,) * 6, 4), 3)


@pytest.mark.parametrize(("n_bins", "n_frames"), [(5, 3), (8, 2), (6, 15), (13, 31)])
def test_any_size_is_filled(n_bins, n_frames):
    torch.manual_seed(0)
    model = MelNet(MelNetConfig((1, 1, 1), 4), n_bins).eval()
    made = melnet.generate(model, n_frames, n_clips=2)
    assert made.features.shape == (2, n_bins, n_frames)
    assert made.features.isfinite().all()


def test_one_sees_a_grid_grow_and_may_stop_it(model):
    """Each look is the last with more of it; what a stop leaves is what was seen last."""
    seen = []
    options = {"n_clips": 2, "speaker": SPEAKERS[:2], "seed": 3}
    whole = melnet.generate(model, T, look=seen.append, **options)
    assert [partial.tier for partial in seen] == [1, 1, 2, 2, 3, 4, 4, 4]  # 9, 9, 8 and 17 frames, 8 at a time
    for partial in seen:
        stage, there = whole.stages[partial.tier - 1], ~partial.grid.isnan()
        assert partial.grid.shape == stage.shape
        torch.testing.assert_close(partial.grid[there], stage[there])
    assert [bool(partial.grid.isnan().any()) for partial in seen] == [
        True,
        False,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    shown = []
    stopped = melnet.generate(model, T, look=shown.append, stop=lambda: len(shown) == 3, **options)
    assert len(stopped.stages) == 2
    torch.testing.assert_close(stopped.stages[0], whole.stages[0])
    torch.testing.assert_close(stopped.features, seen[2].grid, equal_nan=True)
    assert stopped.features[:, 0].isfinite().all()  # of the tier before
    assert stopped.features[:, 1].isnan().sum() == 2  # one frame of nine in two clips


def test_progress_counts_every_value(model):
    told = []
    melnet.generate(model, T, speaker=SPEAKERS[:1], progress=lambda *line: told.append(line))
    assert [done for done, *_ in told] == sorted({done for done, *_ in told})
    assert told[-1] == (F * T, F * T, "tier 4 of 4")


def test_a_model_without_speakers_and_with_one_tier(grids):
    torch.manual_seed(0)
    config = replace(CONFIG, layers=(1,), speaker_dim=0)
    model = MelNet(config, 4).eval()
    found = melnet.cached_parameters(model.tiers[0], grids[0].target)
    with torch.no_grad():
        torch.testing.assert_close(found, model.tiers[0](grids[0].target), rtol=0, atol=1e-5)
    assert grid_sizes(1, 4, 9) == [(4, 9)]


# -- paths -------------------------------------------------------------------------------------------------------------


def begun(path, tier, n_bins, n_frames, n_clips, condition=None, speaker=None):
    """An engine at the beginning of a grid."""
    with torch.no_grad(), full_precision():
        z = tier.conditioning(condition, speaker, (n_clips, n_frames, n_bins))
    return path(tier, n_bins, n_frames, n_clips, z)


def some_tier(seed: int):
    """A tier of random sizes, the first or a later one, with speakers or without, and a grid for it."""
    torch.manual_seed(seed)
    first, spoken = seed % 2 == 0, seed % 3 == 0
    hidden, layers, K, bins, frames, clips = (int(torch.randint(*ends, ())) for ends in
                                              ((1, 24), (1, 4), (1, 5), (1, 8), (2, 8), (1, 7)))  # fmt: skip
    config = MelNetConfig((layers,), hidden, K, speaker_dim=3 * spoken)
    tier = Tier(config, layers, bins if first else None, 4 * spoken).eval()
    for parameter in tier.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    condition = None if first else torch.randn(clips, bins + seed % 4 // 2, frames + seed % 5 // 3)
    return tier, torch.randn(clips, bins, frames), condition, torch.randint(-1, 4, (clips,)) if spoken else None


@pytest.mark.parametrize("seed", range(12))
def test_paths_agree_whatever_the_sizes(seed):
    tier, x, condition, speaker = some_tier(seed)
    with torch.no_grad():
        expected = tier(x, condition, speaker)
    for path in ("numba", "eager"):
        found = melnet.cached_parameters(tier, x, condition, speaker, path)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    uniform, drawing = torch.rand(*x.shape, 2, dtype=torch.double), Drawing(0.9, 0.8, (-2.0, 2.0))
    for n_given in {0, 1, x.shape[2]}:
        numba, eager = (
            melnet.draw_tier(tier, uniform, condition, speaker, x[..., :n_given], drawing, path)
            for path in ("numba", "eager")
        )
        torch.testing.assert_close(eager, numba, rtol=0, atol=1e-4)
        assert torch.equal(eager[..., :n_given], x[..., :n_given])


@pytest.mark.parametrize("seed", range(6))
def test_int8_weights_say_nearly_the_same(seed):
    """The largest step of a weight is 1/254 of the largest weight of its column: a few hundredths of a parameter."""
    tier, x, condition, speaker = some_tier(seed)
    with torch.no_grad():
        expected = tier(x, condition, speaker)
    found = melnet.cached_parameters(tier, x, condition, speaker, "numba", "int8")
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)
    assert not torch.equal(found, expected)


def test_whole_clips_are_the_same_on_every_path(model):
    options = {"n_clips": 2, "speaker": SPEAKERS[:2], "seed": 3, "prime": torch.zeros(F, 3)}
    numba, eager, chosen = (
        melnet.generate(model, T, path=path, **options).features for path in ("numba", "eager", "auto")
    )
    torch.testing.assert_close(eager, numba, rtol=0, atol=1e-3)
    assert torch.equal(chosen, numba)
    again = [melnet.upsample(model, numba, 2, speaker=SPEAKERS[:2], path=path).features for path in ("numba", "eager")]
    torch.testing.assert_close(*again, rtol=0, atol=1e-3)


class GraphOnTheCPU(GraphTier):
    """All of the graph path but CUDA's recorder, which runs the frame to warm up, and later on the same buffers."""

    device_type = "cpu"

    def _record(self, frame):
        frame()
        return frame


def followed(seed, device, graph_path):
    """What the eager and the graph path make of a first frame that is given, of two temperatures, and what they would
    expect of a last frame: it depends on all that they remember."""
    tier, x, condition, speaker = some_tier(seed)
    tier.to(device)
    x, condition, speaker = (None if given is None else given.to(device) for given in (x, condition, speaker))
    B, n_bins, n_frames = x.shape
    uniform, middle, limits = torch.rand(*x.shape, 2, dtype=torch.double), n_frames // 2, (-2.0, 2.0)
    found = []
    for path in (EagerTier, graph_path):
        engine = begun(path, tier, n_bins, n_frames, B, condition, speaker)
        at = [memory.data_ptr() for memory in engine.memories]
        engine.read(x[..., :1])
        stretches = [(1, middle, 1.0, 1.0), (middle, n_frames - 1, 0.7, 0.0)]
        drawn = [engine.sample(uniform[:, :, a:b], *rest, limits) for a, b, *rest in stretches if b > a]
        found.append([*drawn, engine.force(x[..., -1:])])
        assert engine.position == n_frames
        assert at == [memory.data_ptr() for memory in engine.memories]
    assert len(engine.recorded) == len(drawn)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_replayed_frames_are_what_the_eager_path_draws(seed):
    for eager, graph in zip(*followed(seed, "cpu", GraphOnTheCPU)):
        assert torch.equal(graph, eager)


@pytest.mark.parametrize("number", [1, 2])
def test_a_frame_can_be_recorded(model, grids, number):
    """A graph repeats kernels: a value that the host reads, or draws itself, would be frozen in it."""
    grid = grids[number - 1]
    engine = begun(EagerTier, model.tiers[number - 1], *grid.target.shape[1:], 3, grid.condition, SPEAKERS)
    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, arguments=(), options=None):
            seen.add(operation)
            return operation(*arguments, **(options or {}))

    numbers = torch.rand(3, grid.target.shape[1], 2, dtype=torch.double)
    with Watch(), torch.no_grad():
        engine.draw_frame(numbers, 0.9, 0.8, (-2.0, 2.0))
    names = {str(operation).split(".")[1] for operation in seen}
    assert {"addmm_", "addcmul"} <= names
    assert number == 1 or "index_select" in names  # the frame's number is read on the device
    assert not names & {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select"}
    assert not [operation for operation in seen if torch.Tag.nondeterministic_seeded in operation.tags]


def test_paths_that_cannot_be_gone_are_told(model):
    with pytest.raises(SpeechlibError, match="CUDA device, this one is on cpu"):
        melnet.generate(model, T, speaker=SPEAKERS[:1], path="graph")
    with pytest.raises(UnknownName, match="path of generation 'quick'"):
        melnet.generate(model, T, speaker=SPEAKERS[:1], path="quick")
    with pytest.raises(SpeechlibError, match="'int8' is for the numba path, this one is 'eager'"):
        melnet.generate(model, T, speaker=SPEAKERS[:1], path="eager", precision="int8")
    with pytest.raises(UnknownName, match="precision 'int4'"):
        melnet.generate(model, T, speaker=SPEAKERS[:1], precision="int4")


needs_cuda = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
on_cuda = pytest.mark.parametrize("seed", [pytest.param(seed, marks=needs_cuda) for seed in range(6)])


@on_cuda
def test_parameters_on_the_gpu_are_those_of_teacher_forcing(seed):
    tier, x, condition, speaker = some_tier(seed)
    with torch.no_grad():
        expected = tier(x, condition, speaker)
    tier.cuda()
    for path in ("eager", "graph"):
        found = melnet.cached_parameters(tier, x, condition, speaker, path)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@on_cuda
def test_recorded_graph_draws_what_the_eager_path_draws(seed):
    for eager, graph in zip(*followed(seed, "cuda", GraphTier)):
        torch.testing.assert_close(graph, eager, rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_clips_on_the_gpu_are_those_of_the_cpu(model):
    options = {"n_clips": 2, "speaker": SPEAKERS[:2], "seed": 3, "prime": torch.zeros(F, 3)}
    expected = melnet.generate(model, T, path="numba", **options).features
    try:
        model.cuda()
        for path in ("eager", "auto", "numba"):
            found = melnet.generate(model, T, path=path, **options).features
            assert found.device.type == "cpu"
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    finally:
        model.cpu()
