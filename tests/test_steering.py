"""Particles: who goes on, what goes with them, and whether it brings speech nearer to its bands."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlib import pretrained, runs
from speechlib.errors import SpeechlibError
from speechlib.evaluation.vocoder import log_mel_distance
from speechlib.features import FeatureConfig, extract
from speechlib.generation import steering
from speechlib.generation.eager_wavenet import EagerWaveNet
from speechlib.generation.numba_wavenet import NumbaWaveNet
from speechlib.generation.steering import steer, survivors
from speechlib.generation.wavenet import generate, stream
from speechlib.models.wavenet import WaveNet, WaveNetConfig

BANDS = FeatureConfig("log_mel", 8_000, n_fft=64, win_length=64, hop_length=20, n_mels=8)
SMALL = WaveNetConfig(
    n_layers=4, n_stacks=2, residual_channels=8, gate_channels=16, skip_channels=8, scales=(4, 5), front_kernel=3
)


def build(config: WaveNetConfig = SMALL, n_condition: int = 8) -> WaveNet:
    torch.manual_seed(0)
    return WaveNet(config, n_condition).eval()


def asked(n_frames: int = 12) -> torch.Tensor:
    wave = 0.3 * torch.sin(torch.arange(n_frames * 20) * 0.3) + 0.01 * torch.randn(n_frames * 20)
    return extract(wave, BANDS)[:, :n_frames]


# -- who goes on -------------------------------------------------------------------------------------------------------


def test_particles_go_on_in_proportion_to_their_weights():
    """Systematic resampling: of N, one of share s comes floor(N s) or ceil(N s) times, and N s times on average."""
    shares = np.array([0.5, 0.26, 0.2, 0.04, 0.0])
    counts = np.zeros(5)
    with np.errstate(divide="ignore"):
        logs = np.log(shares) - 7.0
    for seed in range(2_000):
        chosen = survivors(logs, np.random.default_rng(seed))
        of_this = np.bincount(chosen, minlength=5)
        assert (of_this >= np.floor(5 * shares)).all()
        assert (of_this <= np.ceil(5 * shares)).all()
        assert all(chosen[b] == b for b in np.flatnonzero(of_this))  # whoever goes on keeps its place
        counts += of_this
    np.testing.assert_allclose(counts / 2_000, 5 * shares, atol=0.03)


def test_equal_weights_change_nothing_and_a_certain_one_takes_all():
    random = np.random.default_rng(0)
    assert survivors(np.full(6, -1e6), random).tolist() == list(range(6))
    assert survivors(np.array([-900.0, 0.0, -900.0]), random).tolist() == [1, 1, 1]


# -- what goes with them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [EagerWaveNet, NumbaWaveNet])
def test_a_selected_stream_remembers_what_its_source_heard(engine):
    """Forced on from there, it is given the parameters that the source's wave and what follows have from the start."""
    model, waves = build(n_condition=0), torch.rand(4, 60) * 2 - 1
    chosen = np.array([2, 0, 2, 1])  # sources that are overwritten themselves, too
    running = engine(model, n_streams=4)
    running.force(waves[:, :37])
    running.select(chosen)
    after = running.force(waves[:, 37:])
    with torch.no_grad():
        expected = model(torch.cat([waves[chosen, :37], waves[:, 37:]], dim=1))[:, :, 37:]
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)


def test_the_filters_of_a_selected_stream_ring_on_as_its_source_did():
    config = replace(SMALL, output="gaussian", emphasis=0.85)
    model, chosen = build(config), np.array([1, 1, 0])
    options = {"n_streams": 3, "seed": 3, "block": 20, "path": "numba"}
    coming = stream(model, asked()[None], **options)
    first = torch.cat([next(coming), next(coming)], dim=1)
    coming.select(chosen)
    excitation = coming.model.sample(torch.full((3, 5, 2), 0.5))
    wave = coming.synthesis(excitation.clone())
    tail, expected = first[chosen][:, -1], []
    for k in range(5):  # x[t] = e[t] + 0.85 x[t - 1], by hand
        tail = excitation[:, k] + 0.85 * tail
        expected.append(tail)
    expected = torch.stack(expected, dim=1)
    quiet = expected.abs() < 0.9  # beyond it waves are bent
    torch.testing.assert_close(wave[quiet], expected[quiet], rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [BANDS, replace(BANDS, n_fft=60, win_length=60), replace(BANDS, n_fft=100)])
def test_a_frame_is_compared_as_soon_as_its_window_has_been_spoken(config):
    """Its bands are then those of the whole wave, whatever is said later: frame t against frame t, in squared dB."""
    waves, wanted, hop = torch.randn(3, 15 * 20) * 0.1, torch.randn(8, 15), config.hop_length
    whole = extract(waves, config)[:, :, :15]
    reach = -(-config.n_fft // (2 * hop))
    for frame in range(15 - reach + 1):
        spoken = waves[:, : (frame + reach) * hop]
        expected = (10 / np.log(10) * (whole[:, :, frame] - wanted[:, frame])).square().sum(1)
        found = steering._distance(spoken, wanted[:, frame], frame, reach, config)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_particle_that_is_off_goes_on_less_often_by_the_tolerance(monkeypatch):
    """Two particles, one sqrt(2 log 3) tolerances further away: exp(-d^2 / 2 tolerance^2) is a third of the other's."""
    seen = []
    monkeypatch.setattr(steering, "_distance", lambda *_: np.array([100.0, 100.0 + 2 * np.log(3) * 5.0**2]))
    monkeypatch.setattr(steering, "survivors", lambda logs, random: seen.append(logs) or np.arange(2))
    model, bands = build(), asked()
    steer(model, bands[None], bands, BANDS, n_particles=2, tolerance=5.0)
    assert len(seen) == 12 - 2 + 1  # all frames but the last, whose window (3.2 hops) is never spoken to its end
    np.testing.assert_allclose([logs[0] - logs[1] for logs in seen], np.log(3))


# -- where it leads ----------------------------------------------------------------------------------------------------


def test_one_particle_is_plain_generation():
    model, bands = build(), asked()
    plain = generate(model, bands[None], seed=5)[0]
    assert torch.equal(steer(model, bands[None], bands, BANDS, n_particles=1, seed=5), plain)


def test_the_same_seed_says_the_same():
    model, bands = build(), asked()
    first, again, other = (steer(model, bands[None], bands, BANDS, n_particles=4, seed=s) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_is_heard_is_what_a_particle_said_in_one_breath():
    """Teacher forcing of the steered wave: every sample is one that its own past made likely, drawn from its stream."""
    model, bands = build(replace(SMALL, output="mu_law", quantization_channels=4)), asked()
    wave = steer(model, bands[None], bands, BANDS, n_particles=8)
    assert wave.shape == (12 * 20,)
    assert len(wave.unique()) <= 4
    with torch.no_grad():
        assert model.nll(wave[None], bands[None]).isfinite().all()


def test_more_particles_come_nearer_to_the_bands():
    """The shipped vocoder on the bands of a buzz that glides and fades: half a second is enough to tell."""
    model = runs.load_model(pretrained.path("wavenet"))
    config = FeatureConfig("log_mel", 8_000, n_fft=256, win_length=256, hop_length=80, n_mels=60)
    time = torch.arange(4_000) / 8_000
    phase = 2 * torch.pi * (100 * time + 80 * time**2)  # from 100 to 180 Hz
    buzz = sum(torch.sin(k * phase) / k for k in range(1, 20)) * 0.1 * (1.2 - 2 * time)
    bands = extract(buzz, config)[:, :50]
    found = {}
    for n in (1, 16):
        wave = steer(model, bands[None], bands, config, n_particles=n, precision="int8")
        found[n] = log_mel_distance(bands, extract(wave, config)[:, :50])
    assert found[16] < 0.85 * found[1]


def test_errors_say_what_does_not_fit():
    model, bands = build(), asked()
    with pytest.raises(SpeechlibError, match=r"\(8, 11\).*12 frames"):
        steer(model, bands[None], bands[:, 1:], BANDS)
    with pytest.raises(SpeechlibError, match="same hop"):
        steer(model, bands[None], bands, replace(BANDS, hop_length=10))
    with pytest.raises(SpeechlibError, match="log_mel bands without differences, not mfcc"):
        steer(model, bands[None], bands, replace(BANDS, kind="mfcc", n_mfcc=8))
    with pytest.raises(SpeechlibError, match="n_particles is 0"):
        steer(model, bands[None], bands, BANDS, n_particles=0)
    with pytest.raises(SpeechlibError, match="tolerance 0"):
        steer(model, bands[None], bands, BANDS, tolerance=0)
