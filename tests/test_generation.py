"""WaveNet sample by sample: every path against teacher forcing and against the plain recomputation of every prefix."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from speechlib import files, mu_law
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.generation import numba_wavenet, products
from speechlib.generation.eager_wavenet import EagerWaveNet
from speechlib.generation.graph_wavenet import GraphWaveNet
from speechlib.generation.numba_wavenet import NumbaWaveNet
from speechlib.generation.wavenet import generate, stream
from speechlib.models.distributions import LogisticMixture, choose
from speechlib.models.wavenet import WaveNet, WaveNetConfig

SMALL = WaveNetConfig(
    n_layers=4, n_stacks=2, residual_channels=6, gate_channels=8, skip_channels=5, quantization_channels=16,
    n_mixtures=3, scales=(2, 3),
)  # fmt: skip
OUTPUTS = ("mu_law", "logistic", "gaussian")


def build(config: WaveNetConfig, n_condition=0, n_speakers=0, seed=0) -> WaveNet:
    torch.manual_seed(seed)
    model = WaveNet(config, n_condition, n_speakers).eval()
    for parameter in model.parameters():  # biases begin at zero: a test would not miss them
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.2)
    if model.context is not None:  # it begins as the identity
        torch.nn.init.normal_(model.context.layers[-1].weight, std=0.2)
    return model


def random_case(seed: int):
    """A model of random shape with what it needs for 2 streams of n samples."""
    pick = np.random.default_rng(seed)
    n_stacks = int(pick.integers(1, 3))
    conditioned, spoken = bool(pick.integers(2)), bool(pick.integers(2))
    config = WaveNetConfig(
        output=OUTPUTS[seed % 3],
        quantization_channels=int(pick.choice([16, 256])),
        n_mixtures=int(pick.integers(1, 11)),
        n_stacks=n_stacks,
        n_layers=n_stacks * int(pick.integers(1, 7)),
        kernel_size=2 + seed // 3 % 3,
        residual_channels=int(pick.integers(1, 90)),
        gate_channels=2 * int(pick.integers(1, 70)),
        skip_channels=int(pick.integers(1, 90)),
        front_kernel=int(pick.integers(1, 6)),
        front_relu=bool(pick.integers(2)),
        front_skip=bool(pick.integers(2)),
        scalar_input=bool(pick.integers(2)),
        residual_scale=float(pick.choice([1.0, 0.5**0.5])),
        upsampling=str(pick.choice(["repeat", "smoothed"])),
        scales=((2, 3), (10,), (4, 4))[int(pick.integers(3))],
        condition_kernel=int(pick.choice([1, 3])),
        context_channels=int(pick.choice([0, 6])),
        condition_post=bool(pick.integers(2)),
        speaker_dim=3 * spoken,
        weight_norm=bool(pick.integers(2)),
    )
    model = build(config, 7 * conditioned, 4 * spoken, seed)
    n = config.hop * 12
    condition = torch.randn(2, 7, 12) if conditioned else None
    speaker = torch.tensor([int(pick.integers(4)), -1]) if spoken else None
    return model, torch.rand(2, n) * 2 - 1, condition, speaker


# -- logits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [EagerWaveNet, NumbaWaveNet])
@pytest.mark.parametrize("seed", range(18))
def test_parameters_are_those_of_teacher_forcing(path, seed):
    """Within 1e-5 of their largest, in pieces whose ends fall anywhere, whatever the pieces and rings are."""
    model, wave, condition, speaker = random_case(seed)
    with torch.no_grad():
        expected = model(wave, condition, speaker)
    engine = path(model, condition, speaker, n_streams=2)
    pieces = wave.split([1, 7, 2, 29, wave.shape[1] - 39], dim=1)
    got = torch.cat([engine.force(piece) for piece in pieces], dim=2)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * max(1, expected.abs().max().item()))


@pytest.mark.parametrize("kernel_size", [2, 3])
def test_parameters_stay_those_of_teacher_forcing_beyond_every_ring(kernel_size):
    config = replace(SMALL, n_layers=7, n_stacks=1, kernel_size=kernel_size)
    model, wave = build(config), torch.rand(1, 3 * config.receptive_field + 5) * 2 - 1
    with torch.no_grad():
        expected = model(wave)
    for path in (EagerWaveNet, NumbaWaveNet):
        torch.testing.assert_close(path(model).force(wave), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_tiled_product_is_the_product(seed):
    pick = np.random.default_rng(seed)
    n, M, N = pick.integers(1, 12), pick.integers(1, 40), pick.integers(1, 200)
    x, W = pick.standard_normal((n + 2, M), np.float32), pick.standard_normal((M, N), np.float32)
    y = pick.standard_normal((n + 1, products.full(N)), np.float32)
    expected = y.copy()
    expected[1:, :N] += x[2:] @ W
    products.add_product(y, 1, x, 2, products.tiles(W), n, 0, products.room(M))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def times_int8(x, W):
    """x (n, M) @ W (M, N) by the compiled product with int8 weights."""
    y = np.zeros((len(x), products.full(W.shape[1])), np.float32)
    products.add_product(y, 0, x, 0, products.tiles(W, "int8"), len(x), 0, products.room(len(W)))
    assert (y[:, W.shape[1] :] == 0).all()
    return y[:, : W.shape[1]]


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 41, 130), (8, 64, 64), (3, 516, 70)])
def test_int8_product_rounds_weights_to_8_bits_and_rows_to_16(shape):
    """Half a step away at most: steps are 1/127 of the column's largest weight, 1/32767 of the row's largest number."""
    n, M, N = shape
    pick = np.random.default_rng(M)
    W = (pick.standard_normal((M, N)) * np.exp(pick.standard_normal(N) * 3)).astype(np.float32)
    x = (pick.standard_normal((n, M)) * np.exp(pick.standard_normal((n, 1)) * 3)).astype(np.float32)
    rounded = times_int8(np.eye(M, dtype=np.float32), W)
    assert (np.abs(rounded - W) <= np.abs(W).max(0) / 127 * 0.5001).all()
    error = np.abs(times_int8(x, W) - x.astype(np.float64) @ rounded)
    level = np.abs(x).max(1, keepdims=True) / 32_767
    assert (error <= 0.5 * level * np.abs(rounded).sum(0) * 1.01 + 1e-5 * np.abs(x) @ np.abs(rounded)).all()


def test_int8_product_of_many_large_numbers_does_not_overflow():
    for sign in (1, -1):
        y = times_int8(np.full((1, 4000), 3, np.float32), np.full((4000, 2), sign * 2, np.float32))
        np.testing.assert_allclose(y, sign * 24_000, rtol=2e-3)  # levels of 4000 numbers end at 4227


@pytest.mark.parametrize("M", [5, 6])
def test_int8_product_leaves_alone_what_lies_behind_its_rows(M):
    """Neither read nor rounded: a large number there would make the steps of the others coarse."""
    random = np.random.default_rng(0)
    x, W = random.standard_normal((4, M)).astype(np.float32), random.standard_normal((M, 7)).astype(np.float32)
    longer, room, y = np.full((4, 300), 1e6, np.float32), products.room(M), np.zeros((4, products.TILE), np.float32)
    longer[:, : M + M % 2] = 0
    longer[:, :M] = x
    products.add_product(y, 0, longer, 0, products.tiles(W, "int8"), 4, 0, room)
    assert np.array_equal(y[:, :7], times_int8(x, W)[:, :7])


def test_int8_product_of_nothing_is_nothing():
    assert (times_int8(np.zeros((5, 6), np.float32), np.ones((6, 3), np.float32)) == 0).all()
    assert (times_int8(np.ones((5, 6), np.float32), np.zeros((6, 3), np.float32)) == 0).all()


@pytest.mark.parametrize("output", OUTPUTS)
def test_int8_weights_cost_hardly_anything(output):
    """On a model that has learnt something: noisy tones, others than those it is asked about.

    Classes lose nothing to speak of. Continuous outputs of so short a training move by a hundredth or two, either way;
    on speech they lose less than one (benchmarks/test_precision_bench.py).
    """
    torch.manual_seed(0)
    sizes = {"residual_channels": 32, "gate_channels": 64, "skip_channels": 32, "quantization_channels": 256}
    model = WaveNet(replace(SMALL, output=output, **sizes))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def tones():
        frequency, phase = 0.1 + 0.4 * torch.rand(16, 1), torch.rand(16, 1) * 2 * torch.pi
        return 0.5 * torch.sin(frequency * torch.arange(128) + phase) + 0.02 * torch.randn(16, 128)

    for _ in range(100):
        optimizer.zero_grad()
        model.nll(tones()).mean().backward()
        optimizer.step()
    wave = tones()
    with torch.no_grad():
        exact = model.nll(wave).mean().item()
    parameters = NumbaWaveNet(model.eval(), n_streams=16, precision="int8").force(wave)
    lost = (model.distribution.nll(parameters, wave).mean().item() - exact) / np.log(2)
    assert lost < (0.01 if output == "mu_law" else 0.03)
    assert lost != 0


def test_gate_is_tanh_times_sigmoid_to_six_digits():
    z = np.concatenate([np.linspace(-30, 30, 20_001), np.linspace(30, -25, 20_001)]).astype(np.float32)
    h = np.empty(20_001, np.float32)
    numba_wavenet._gate(h, z)
    a, b = np.split(z.astype(np.float64), 2)
    assert np.abs(h - np.tanh(a) / (1 + np.exp(-b))).max() < 5e-7


# -- samples -----------------------------------------------------------------------------------------------------------


def generate_slowly(model, condition, speaker, n, seed, temperature, top_p):
    """The whole prefix anew for every sample: what no one should do, and what must come out."""
    sources = [np.random.default_rng([seed, b]) for b in range(2)]
    uniform = torch.from_numpy(np.stack([source.random((n, 2)) for source in sources]))
    hop, wave = model.config.hop, torch.zeros(2, 0)
    for t in range(n):
        frames = None if condition is None else condition[:, :, : t // hop + 1]
        with torch.no_grad():
            parameters = model(torch.cat([wave, torch.zeros(2, 1)], dim=1), frames, speaker)[:, :, -1]
        drawn = model.distribution.sample(parameters, uniform[:, t], temperature, top_p)
        wave = torch.cat([wave, drawn[:, None]], dim=1)
    return wave


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8), (0.0, 1.0)])
@pytest.mark.parametrize("path", ["eager", "numba"])
def test_samples_are_those_of_full_recomputation(output, temperature, top_p, path):
    model = build(replace(SMALL, output=output, speaker_dim=2), n_condition=4, n_speakers=3)
    condition, speaker = torch.randn(2, 4, 8), torch.tensor([0, 2])
    options = {"seed": 5, "temperature": temperature, "top_p": top_p}
    expected = generate_slowly(model, condition, speaker, 48, **options)
    got = generate(model, condition, speaker, path=path, block=11, **options)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    if temperature:
        assert (got[0] != got[1]).any()


@pytest.mark.parametrize("output", OUTPUTS)
def test_compiled_choice_is_torchs(output):
    """One step from each of 300 random parameters, through temperature and nucleus."""
    random = torch.Generator().manual_seed(1)
    uniform = torch.rand(300, 2, generator=random, dtype=torch.float64)
    logits = torch.randn(300, 256, generator=random) * 3
    room = np.empty(256, np.float32)
    if output == "mu_law":
        for temperature, top_p in ((1.0, 1.0), (0.6, 0.9), (1.5, 0.3), (0.0, 1.0)):
            expected = choose(logits, uniform[:, 0], temperature, top_p)
            got = [
                numba_wavenet.choose(row.numpy(), u.item(), temperature, top_p, room)
                for row, u in zip(logits, uniform[:, 0])
            ]
            assert got == expected.tolist()
        return
    distribution = replace(SMALL, output=output, n_mixtures=4).distribution
    parameters = logits[:, : distribution.n_parameters] / 3
    expected = distribution.sample(parameters, uniform, 0.8)
    deviate = distribution.deviate(uniform[:, 1], 0.8)
    floor = np.float32(-9)
    got = [
        numba_wavenet._place(row.numpy(), u.item(), d.item(), 0.8, floor, room)
        for row, u, d in zip(parameters, uniform[:, 0], deviate)
    ]
    torch.testing.assert_close(torch.tensor(got), expected, rtol=0, atol=1e-5)


def test_compiled_choice_stays_in_the_table():
    room = np.empty(256, np.float32)
    for logits in (np.zeros(256), np.linspace(0, -200, 256), np.random.default_rng(0).standard_normal(256) * 20):
        for uniform in (0.0, 0.999999, 1 - 2**-53, 1.0):
            drawn = numba_wavenet.choose(logits.astype(np.float32), uniform, 1.0, 1.0, room)
            assert 0 <= drawn < 256
            assert logits[drawn] > logits.max() - 104  # it has a probability in float32


def test_log_scale_is_clamped_in_every_path():
    """A network that says log-deviation -20 draws with its floor."""
    model = build(replace(SMALL, output="gaussian", min_log_scale=-7.0))
    with torch.no_grad():
        model.post_2.weight.zero_()
        model.post_2.bias.copy_(torch.tensor([0.1, -20.0]))
    for path in ("eager", "numba"):
        drawn = generate(model, n_samples=2000, n_streams=2, path=path)
        assert drawn.std().item() == pytest.approx(np.exp(-7), rel=0.1)


def test_mixture_draws_from_all_its_components():
    model = build(replace(SMALL, output="logistic", n_mixtures=2))
    with torch.no_grad():
        model.post_2.weight.zero_()
        model.post_2.bias.copy_(torch.tensor([0.0, np.log(3), -0.5, 0.5, -6.0, -6.0]))
    drawn = generate(model, n_samples=4000)
    assert (drawn > 0).float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert isinstance(model.distribution, LogisticMixture)


class GraphOnTheCPU(GraphWaveNet):
    """All of the graph path but CUDA's recorder, which runs the steps to warm up, and later on the same buffers."""

    device_type = "cpu"

    def _record(self, steps):
        steps()
        return steps


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8), (0.0, 1.0)])
def test_replayed_steps_draw_what_the_eager_step_draws(output, temperature, top_p):
    """Also across blocks that are no multiple of what a replay makes, a change of temperature, and a prompt."""
    model = build(replace(SMALL, output=output, speaker_dim=2), n_condition=4, n_speakers=3)
    condition, speaker = torch.randn(1, 4, 20), torch.tensor([0, 2, 1])
    uniform = torch.rand(3, 120, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    eager, graph = (path(model, condition, speaker, 3) for path in (EagerWaveNet, GraphOnTheCPU))
    at = [memory.data_ptr() for memory in (graph.position, graph.rings, graph.history)]
    for engine in (eager, graph):
        engine.force(torch.linspace(-1, 1, 5).expand(3, -1))
    for first, last, options in ((5, 37, (temperature, top_p)), (37, 90, (0.9, 1.0)), (90, 120, (0.9, 1.0))):
        expected = eager.sample(uniform[:, first:last], *options)
        assert torch.equal(graph.sample(uniform[:, first:last], *options), expected)
    assert graph.position == eager.position == 120
    assert at == [memory.data_ptr() for memory in (graph.position, graph.rings, graph.history)]
    assert len(graph.recorded) == len({(temperature, top_p), (0.9, 1.0)})


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_step_can_be_recorded(output):
    """A graph repeats kernels: a value that the host reads, or draws itself, would be frozen in it."""
    model = build(replace(SMALL, output=output, speaker_dim=2), n_condition=4, n_speakers=3)
    engine = EagerWaveNet(model, torch.randn(1, 4, 20), torch.tensor([0, 2]), 2)
    uniform = torch.rand(2, 3, 2, dtype=torch.float64)
    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, arguments=(), options=None):
            seen.add(operation)
            return operation(*arguments, **(options or {}))

    with Watch():
        engine.sample(uniform, 0.7, 0.8)
    names = {str(operation).split(".")[1] for operation in seen}
    assert {"addmm", "tanh"} <= names
    assert not names & {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select"}
    assert not [operation for operation in seen if torch.Tag.nondeterministic_seeded in operation.tags]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8), (0.0, 1.0)])
def test_recorded_graph_draws_what_the_eager_step_draws(output, temperature, top_p):
    """Also across blocks that are no multiple of what a replay makes, and after a change of temperature."""
    model = build(replace(SMALL, output=output, speaker_dim=2), n_condition=4, n_speakers=3).cuda()
    condition, speaker = torch.randn(1, 4, 20).cuda(), torch.tensor([0, 2, 1]).cuda()
    uniform = torch.rand(3, 120, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    eager, graph = (path(model, condition, speaker, 3) for path in (EagerWaveNet, GraphWaveNet))
    for part, options in (
        (slice(0, 37), (temperature, top_p)),
        (slice(37, 90), (0.9, 1.0)),
        (slice(90, 120), (0.9, 1.0)),
    ):
        expected = eager.sample(uniform[:, part], *options)
        torch.testing.assert_close(graph.sample(uniform[:, part], *options), expected, rtol=0, atol=1e-4)
    assert graph.position == eager.position == 120


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_teacher_forcing_on_the_gpu_is_the_step_on_the_gpu():
    model = build(replace(SMALL, kernel_size=3)).cuda()
    wave = torch.rand(2, 60).cuda() * 2 - 1
    with torch.no_grad():
        expected = model(wave)
    torch.testing.assert_close(GraphWaveNet(model, n_streams=2).force(wave), expected, rtol=0, atol=1e-4)


FITTING = {"residual_channels": 16, "gate_channels": 64, "skip_channels": 32}  # into the kernel of all layers
KERNELS = [
    {"kernel_size": 2, "output": "mu_law"},
    {"kernel_size": 3, "output": "logistic", "front_skip": True, "condition_post": True},
    {"kernel_size": 4, "output": "gaussian", "condition_post": True, "front_relu": True},
]


def forced_by_the_kernel(changes: dict, n_streams: int, engine: type, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Parameters of the same waves by the kernel and by teacher forcing."""
    model = build(replace(SMALL, **FITTING, **changes), n_condition=4).to(device)
    condition, wave = torch.randn(n_streams, 4, 7).to(device), torch.rand(n_streams, 42).to(device) * 2 - 1
    running = engine(model, condition, None, n_streams)
    assert running.kernel is not None
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return running.force(wave), model(wave, condition)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("n_streams", [1, 37, 2_050])  # the last: more streams to a program
@pytest.mark.parametrize("changes", KERNELS)
def test_layers_in_one_kernel_are_those_of_teacher_forcing(changes, n_streams):
    torch.testing.assert_close(*forced_by_the_kernel(changes, n_streams, GraphWaveNet, "cuda"), rtol=0, atol=1e-5)


def test_layers_in_one_kernel_as_triton_interprets_it():
    """The same without a GPU: Triton's interpreter runs the kernel line by line. It must be told before the import."""
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA")
    code = (
        "from tests import test_generation as t; import torch\n"
        "for changes in t.KERNELS:\n"
        "    pair = t.forced_by_the_kernel(changes, 3, t.GraphOnTheCPU, 'cpu')\n"
        "    torch.testing.assert_close(*pair, rtol=0, atol=1e-5)"
    )
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=files.ROOT, check=True)


def test_networks_that_a_program_cannot_hold_go_layer_by_layer():
    assert GraphOnTheCPU(build(SMALL)).kernel is None


def test_graphs_are_refused_where_there_is_no_gpu():
    with pytest.raises(SpeechlibError, match="CUDA device, this one is on cpu"):
        stream(build(SMALL), n_samples=5, path="graph")


# -- what must not matter, and what must -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["eager", "numba"])
def test_blocks_threads_and_company_do_not_change_a_stream(path):
    model = build(replace(SMALL, speaker_dim=2), n_condition=4, n_speakers=3)
    condition, speaker = torch.randn(1, 4, 8), torch.tensor([1, 0, 2])
    together = generate(model, condition, speaker, path=path, threads=2)
    for block in (1, 5, 48):
        assert torch.equal(generate(model, condition, speaker, path=path, block=block, threads=1), together)
    assert torch.equal(generate(model, condition, speaker[:1], path=path)[0], together[0])
    assert torch.equal(generate(model, condition, speaker, 30, path=path), together[:, :30])


def test_seeds_decide():
    model = build(SMALL)
    first = generate(model, n_samples=50, n_streams=2, seed=3)
    assert torch.equal(first, generate(model, n_samples=50, n_streams=2, seed=3))
    assert not torch.equal(first, generate(model, n_samples=50, n_streams=2, seed=4))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("path", ["eager", "numba"])
def test_a_prompt_is_where_generation_goes_on_from(path):
    """The first 20 samples of a run as the prompt of a greedy one give the rest of it."""
    model = build(SMALL, n_condition=4)
    condition = torch.randn(1, 4, 8)
    whole = generate(model, condition, temperature=0, path=path)
    rest = generate(model, condition, temperature=0, prompt=whole[0, :20], path=path)
    assert torch.equal(rest, whole[:, 20:])


def test_mu_law_samples_are_the_middles_of_classes():
    wave = generate(build(SMALL), n_samples=100)
    assert torch.equal(mu_law.decode(mu_law.encode(wave, 16), 16), wave)


# -- while it runs -----------------------------------------------------------------------------------------------------


def test_blocks_come_one_by_one():
    coming = stream(build(SMALL), n_samples=25, block=10)
    assert coming.n_samples == 25
    assert [block.shape for block in coming] == [(1, 10), (1, 10), (1, 5)]


def test_progress_tells_samples_and_time_left():
    told = []
    generate(build(SMALL), n_samples=25, block=10, progress=lambda *what: told.append(what))
    assert [(done, total) for done, total, _ in told] == [(10, 25), (20, 25), (25, 25)]
    assert all("samples/s" in text and text.endswith("left") for *_, text in told)


def test_stopping_early_keeps_what_is_there():
    model, told = build(SMALL), []
    whole = generate(model, n_samples=50, block=10)
    stopped = generate(model, n_samples=50, block=10, stop=lambda: len(told) == 2, progress=lambda *w: told.append(w))
    assert torch.equal(stopped, whole[:, :20])

    def interrupt(done, total, text):
        if done == 30:
            raise KeyboardInterrupt

    assert torch.equal(generate(model, n_samples=50, block=10, progress=interrupt), whole[:, :30])


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_weights_that_are_not_finite_are_refused_by_name():
    model = build(SMALL)
    with torch.no_grad():
        model.post_1.weight[0, 0] = float("nan")
    for path in ("eager", "numba"):
        with pytest.raises(SpeechlibError, match=r"1 of 25 weights of post_1\.weight"):
            generate(model, n_samples=3, path=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "how long"),
        ({"n_samples": 0}, "0 samples cannot"),
        ({"n_samples": 5, "prompt": torch.zeros(0)}, "prompt is empty"),
        ({"n_samples": 5, "prompt": torch.zeros(1, 1, 4)}, r"prompt of shape \(1, 1, 4\)"),
        ({"n_samples": 5, "temperature": -1.0}, "temperature -1"),
        ({"n_samples": 5, "temperature": float("nan")}, "temperature nan"),
        ({"n_samples": 5, "temperature": float("inf")}, "temperature inf"),
        ({"n_samples": 5, "top_p": 0.0}, "top_p 0"),
        ({"n_samples": 5, "top_p": 1.1}, r"top_p 1\.1 lie in \(0, 1\]"),
        ({"n_samples": 5, "block": 0}, "block is 0: at least 1"),
        ({"n_samples": 5, "n_streams": 0}, "n_streams is 0: at least 1"),
        ({"n_samples": 5, "n_streams": -2}, "n_streams is -2: at least 1"),
        ({"n_samples": 5, "threads": 0}, "threads is 0: at least 1"),
        ({"n_samples": 5, "seed": -1}, "seed is -1: at least 0"),
        ({"n_samples": 5, "precision": "int8", "path": "eager"}, "numba path"),
        ({"n_samples": 5, "precision": "bf16"}, "int8"),
        ({"n_samples": 5, "prompt": torch.tensor([0.1, float("nan")])}, "prompt is not finite"),
        ({"n_samples": 5, "prompt": torch.zeros(2, 4), "n_streams": 3}, "prompt 2, n_streams 3"),
        ({"n_samples": 5, "condition": torch.zeros(1, 4, 2)}, "takes none"),
        ({"n_samples": 5, "speaker": torch.tensor([0])}, "knows none"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(SpeechlibError, match=message):
        stream(build(SMALL), **options)


@pytest.mark.parametrize(
    ("condition", "speaker", "message"),
    [
        (torch.zeros(1, 5, 2), [0], r"condition \(B, 4, T\), got one of shape \(1, 5, 2\)"),
        (torch.zeros(4, 2), [0], r"got one of shape \(4, 2\)"),
        (torch.zeros(1, 4, 0), [0], "0 samples cannot be generated"),
        (torch.full((1, 4, 2), torch.nan), [0], "condition is not finite"),
        (torch.zeros(2, 4, 2), [0, 1, 2], "condition 2, speaker 3"),
        (torch.zeros(1, 4, 2), [3], r"speakers \[3\] for a model of 3"),
        (torch.zeros(1, 4, 2), [-2], r"speakers \[-2\] for a model of 3"),
        (torch.zeros(1, 4, 2), [0.0], r"speakers of shape \(1,\), torch.float32"),
        (torch.zeros(1, 4, 2), [[0]], r"speakers of shape \(1, 1\)"),
    ],
)
@pytest.mark.parametrize("output", ["wave", "excitation"])
def test_conditions_and_speakers_that_do_not_fit_are_refused(condition, speaker, message, output):
    model = build(replace(SMALL, speaker_dim=2, emphasis=0.85 * (output == "excitation")), 4, 3)
    with pytest.raises(SpeechlibError, match=message):
        stream(model, condition, torch.tensor(speaker))


def test_more_threads_than_cores_run_as_many_as_there_are_and_say_so():
    model = build(SMALL)
    cores = numba_wavenet.usable_cores()
    with pytest.warns(UserWarning, match=f"{cores + 9} threads were asked for, {cores} cores"):
        got = generate(model, n_samples=20, n_streams=3, threads=cores + 9)
    assert torch.equal(got, generate(model, n_samples=20, n_streams=3))


def test_without_a_compiler_the_same_is_said_more_slowly(monkeypatch):
    model = build(SMALL)
    expected = generate(model, n_samples=20)
    monkeypatch.setattr("numba.config.DISABLE_JIT", True)
    with pytest.warns(UserWarning, match="NUMBA_DISABLE_JIT is set, so nothing is compiled"):
        coming = stream(model, n_samples=20)
    assert isinstance(coming.model, EagerWaveNet)
    torch.testing.assert_close(next(coming), expected, rtol=0, atol=1e-4)


def test_without_avx_the_products_are_the_same(tmp_path):
    """Compiled anew for a processor of which nothing but its family is known."""
    code = """
import numpy as np
from speechlib.generation.products import add_product, full, room, tiles
from speechlib.compiled import compiled
pick = np.random.default_rng(0)
x, W = pick.standard_normal((5, 41), np.float32), pick.standard_normal((41, 70), np.float32)
y = np.zeros((5, full(70)), np.float32)
add_product(y, 0, x, 0, tiles(W), 5, 0, room(41))
np.testing.assert_allclose(y[:, :70], x @ W, atol=1e-4)
assert not [text for text in add_product.inspect_asm().values() if "%ymm" in text or "%zmm" in text]
"""
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=os.environ | plain, check=True)


def test_more_samples_than_the_condition_covers_are_refused_with_both_numbers():
    model, condition = build(SMALL, n_condition=4), torch.zeros(1, 4, 2)
    with pytest.raises(SpeechlibError, match="10 samples cannot be generated; the condition covers 9"):
        stream(model, condition, n_samples=10, prompt=torch.zeros(3))
    with pytest.raises(UnknownName, match="numba"):
        stream(model, condition, path="numbo")
