"""Pre-emphasis inside a WaveNet: there and back, block by block, and what a prompt leaves behind."""

from dataclasses import replace

import pytest
import torch
from test_generation import SMALL, build

from speechlib import mu_law
from speechlib.errors import SpeechlibError
from speechlib.generation.wavenet import generate
from speechlib.models.emphasis import Deemphasis, emphasise

EMPHASISED = replace(SMALL, emphasis=0.85)


def test_by_hand():
    assert torch.equal(emphasise(torch.tensor([[0.5, 0.5, 0.25]]), 0.5), torch.tensor([[0.5, 0.25, 0.0]]))


@pytest.mark.parametrize("block", [1, 7, 100])
def test_there_and_back_whatever_the_blocks(block):
    wave = torch.rand(3, 100) - 0.5
    back = Deemphasis(0.85, torch.zeros(3))
    blocks = [back(part) for part in emphasise(wave, 0.85).split(block, dim=1)]
    torch.testing.assert_close(torch.cat(blocks, dim=1), wave, atol=1e-6, rtol=0)


def test_the_noise_of_mu_law_is_lower_up_high():
    """What it is for: the error above half of the band, for a wave with little energy there."""
    t = torch.arange(16_000) / 16_000
    wave = 0.5 * torch.sin(2 * torch.pi * 200 * t)[None] + 0.001 * torch.randn(1, 16_000)

    def high(a: float) -> float:
        coded = mu_law.decode(mu_law.encode(emphasise(wave, a), 256), 256)
        error = torch.fft.rfft(Deemphasis(a, torch.zeros(1))(coded) - wave).abs().square()[0]
        return float(error[len(error) // 2 :].mean())

    assert high(0.85) < 0.2 * high(0.0)


def quiet():
    """A model whose waves stay within [-1, 1]."""
    model = build(replace(EMPHASISED, output="gaussian"))
    with torch.no_grad():
        model.post_2.weight *= 0.1
        model.post_2.bias *= 0.1
    return model


def test_generation_hears_what_teacher_forcing_hears():
    """Greedy samples are the means of the emphasised wave that teacher forcing sees."""
    model = quiet()
    wave = generate(model, n_samples=60, temperature=0)
    torch.testing.assert_close(emphasise(wave, 0.85), model(wave)[:, 0], atol=1e-5, rtol=0)


def test_a_prompt_is_gone_on_from():
    model = quiet()
    whole = generate(model, n_samples=80, temperature=0)
    after = generate(model, n_samples=50, prompt=whole[:, :30], temperature=0)
    torch.testing.assert_close(after, whole[:, 30:], atol=1e-5, rtol=0)


def test_the_receptive_field_counts_it():
    model = build(EMPHASISED)
    wave = (torch.rand(1, 60) - 0.5).requires_grad_()
    model = build(replace(EMPHASISED, output="gaussian"))
    model(wave)[0, :, -1].sum().backward()
    assert 60 - int(wave.grad[0].nonzero()[0]) - 1 == model.receptive_field == build(SMALL).receptive_field + 1


def test_an_offset_must_fade():
    with pytest.raises(SpeechlibError, match="emphasis is 1.0"):
        replace(SMALL, emphasis=1.0)
