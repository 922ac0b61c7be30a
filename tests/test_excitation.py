"""Waves and their excitation: filters there and back, envelopes against known spectra, a WaveNet that learns them."""

from dataclasses import replace

import pytest
import torch
from scipy.signal import lfilter
from test_generation import SMALL, build

from speechlib import mu_law
from speechlib.errors import SpeechlibError
from speechlib.features import FeatureConfig, extract, filter_bank
from speechlib.generation.synthesis import Synthesis, limited
from speechlib.generation.wavenet import generate
from speechlib.models.excitation import Emphasis, Envelope, Filters, whiten
from speechlib.models.wavenet import WaveNet

BANDS = FeatureConfig("log_mel", 8_000, n_fft=256, win_length=256, hop_length=80, n_mels=60)
EMPHASISED = replace(SMALL, emphasis=0.85)
ENVELOPED = replace(SMALL, output="gaussian", envelope=4, envelope_fft=256, scales=(8, 10))


def envelope(order: int = 2) -> Envelope:
    return Envelope(order, 60, 256, 80).fit(torch.from_numpy(filter_bank(BANDS)), torch.hann_window(256))


def resonance(n: int = 8_000, seed: int = 0) -> torch.Tensor:
    """White noise of deviation 0.01 through a resonator whose prediction is 1.6 x[t-1] - 0.81 x[t-2]: (1, n)."""
    noise = 0.01 * torch.randn(1, n, generator=torch.Generator().manual_seed(seed))
    return torch.from_numpy(lfilter([1.0], [1.0, -1.6, 0.81], noise.numpy())).float()


def test_by_hand():
    half = Filters(torch.full((1, 1, 2), 0.5), torch.tensor([[1.0, 2.0]]), length=2)
    assert torch.equal(whiten(torch.tensor([[0.5, 0.5, 0.25]]), half), torch.tensor([[0.5, 0.25, 0.0]]))
    assert torch.equal(
        Synthesis(half, 1, torch.zeros(1, 0))(torch.tensor([[0.5, 0.25, 0.0]]))[0, :2], torch.tensor([0.5, 0.5])
    )


@pytest.mark.parametrize("block", [1, 33, 800])
def test_there_and_back_whatever_the_blocks(block):
    wave = torch.cat([resonance(800), resonance(800, seed=1)])
    filters = envelope(8)(extract(wave, BANDS)[..., :10], 800)
    excitation = whiten(wave, filters)
    assert excitation.abs().max() < 1
    back = Synthesis(filters, 2, torch.zeros(2, 0))
    blocks = [back(part) for part in excitation.split(block, dim=1)]
    torch.testing.assert_close(torch.cat(blocks, dim=1), wave, atol=1e-5, rtol=0)


def test_what_rings_beyond_full_scale_is_bent_and_the_rest_left_alone():
    wave = torch.linspace(-3, 3, 601)
    bent = limited(wave)
    alone = wave.abs() <= 0.9
    assert torch.equal(bent[alone], wave[alone])
    assert bent.abs().max() <= 1
    assert torch.equal(limited(-wave), -bent)
    slope = bent.diff() / wave.diff()
    assert (slope >= 0).all()
    assert slope.diff().abs().max() < 0.1  # no corner: clipping has one of 1


def test_the_filters_of_a_known_resonance():
    wave = resonance()
    filters = envelope()(extract(wave, BANDS), wave.shape[1])
    coefficients = filters.coefficients[0, :, 8:-8].mean(1)
    torch.testing.assert_close(coefficients, torch.tensor([1.6, -0.81]), atol=0.06, rtol=0)
    excitation = whiten(wave, filters)
    assert 0.07 < float(excitation[:, 800:-800].std()) < 0.12  # a tenth: pulses have room above it


def test_filters_are_stable():
    """Every pole within the unit circle, for frames of any shape: what comes in small stays small."""
    bands = torch.randn(1, 60, 40) * 5
    filters = envelope(16)(bands, 3_200)
    wave = Synthesis(Filters(filters.coefficients, torch.ones_like(filters.gain), filters.length), 1, torch.zeros(1, 0))
    assert wave(torch.zeros(1, 3_200)).abs().max() == 0
    for a in filters.coefficients[0].T.double():
        companion = torch.diag(torch.ones(15, dtype=torch.float64), -1)
        companion[0] = a
        assert torch.linalg.eigvals(companion).abs().max() < 1


def test_silence_has_an_excitation_of_the_usual_size_and_no_infinities():
    filters = envelope(8)(torch.full((1, 60, 10), float(torch.tensor(BANDS.floor).log())), 800)
    assert filters.gain.isfinite().all()
    assert (filters.gain > 0).all()


def test_steps_of_mu_law_come_out_below_speech_in_every_band():
    """What it is for: the error in the band with the least energy, against mu-law on the wave itself."""
    wave = resonance()
    filters = envelope(4)(extract(wave, BANDS), wave.shape[1])

    def quiet(coded: torch.Tensor) -> float:
        return float((extract(coded, BANDS) - extract(wave, BANDS))[0, -20:].abs().mean())

    plain = quiet(mu_law.decode(mu_law.encode(wave, 64), 64))
    excited = mu_law.decode(mu_law.encode(whiten(wave, filters), 64), 64)
    assert quiet(Synthesis(filters, 1, torch.zeros(1, 0))(excited)) < 0.5 * plain


def quiet_model(config, n_condition=0) -> WaveNet:
    """A model whose waves stay within [-1, 1]."""
    model = build(config, n_condition)
    with torch.no_grad():
        model.post_2.weight *= 0.1
        model.post_2.bias *= 0.1
    if config.envelope:
        model.excitation.fit(torch.from_numpy(filter_bank(BANDS)), torch.hann_window(256))
    return model


CASES = {
    "emphasis": (replace(EMPHASISED, output="gaussian"), None),
    "scaled emphasis": (replace(EMPHASISED, output="gaussian", emphasis_scale=0.55), None),
    "envelope": (ENVELOPED, extract(resonance(320), BANDS)[..., :4]),
}


@pytest.mark.parametrize("case", CASES)
def test_generation_hears_what_teacher_forcing_hears(case):
    """Greedy samples are the means of the excitation that teacher forcing sees."""
    config, condition = CASES[case]
    model = quiet_model(config, 60 if config.envelope else 0)
    wave = generate(model, condition, n_samples=300, temperature=0, block=77)
    told = (condition,) if condition is not None else ()
    torch.testing.assert_close(model.inner(wave, *told), model(wave, *told)[:, 0], atol=2e-5, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_a_prompt_is_gone_on_from(case):
    config, condition = CASES[case]
    model = quiet_model(config, 60 if config.envelope else 0)
    whole = generate(model, condition, n_samples=300, temperature=0)
    after = generate(model, condition, n_samples=190, prompt=whole[:, :110], temperature=0)
    torch.testing.assert_close(after, whole[:, 110:], atol=2e-5, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_the_receptive_field_counts_the_filter(case):
    config, condition = CASES[case]
    model = quiet_model(config, 60 if config.envelope else 0)
    wave = (0.01 * torch.rand(1, 300)).requires_grad_()
    model(wave, condition)[0, :, -1].sum().backward()
    plain = replace(config, emphasis=0.0, emphasis_scale=1.0, envelope=0).receptive_field
    assert 300 - int(wave.grad[0].nonzero()[0]) - 1 == model.receptive_field == plain + (config.envelope or 1)


def test_emphasis_is_the_same_filter_for_all():
    wave = torch.rand(3, 20) - 0.5
    expected = torch.cat([wave[:, :1], wave[:, 1:] - 0.85 * wave[:, :-1]], dim=1)
    torch.testing.assert_close(whiten(wave, Emphasis(0.85)(None, 20)), expected)
    torch.testing.assert_close(whiten(wave, Emphasis(0.85, 0.55)(None, 20)), 0.55 * expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emphasis": 1.0}, "emphasis is 1.0"),
        ({"emphasis": 0.5, "envelope": 8}, "one or the other"),
        ({"emphasis_scale": 0.55}, "emphasis_scale 0.55 with emphasis 0.0"),
        ({"emphasis": 0.85, "emphasis_scale": 0.0}, "positive"),
    ],
)
def test_choices_that_make_no_sense(changes, message):
    with pytest.raises(SpeechlibError, match=message):
        replace(SMALL, **changes)


def test_an_envelope_needs_bands():
    with pytest.raises(SpeechlibError, match="envelope 8 follows the bands of a condition"):
        WaveNet(replace(SMALL, envelope=8))
    with pytest.raises(SpeechlibError, match=r"filter bank \(40, 129\)"):
        envelope().fit(torch.zeros(40, 129), torch.ones(256))
