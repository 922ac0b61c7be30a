"""The prior over codes against a loop over codes and a Markov chain of known entropy; what a code may depend on."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from speechlib import objectives, runs
from speechlib.errors import SpeechlibError
from speechlib.evaluation.ngrams import NGram
from speechlib.models.prior import Prior, PriorConfig

SMALL = PriorConfig(
    n_layers=4, n_stacks=2, residual_channels=6, gate_channels=8, skip_channels=5, speaker_dim=3, dropout=0.0,
    anonymous=0.0,
)  # fmt: skip
K = 7


def build(config: PriorConfig = SMALL, codebook_size=K, n_speakers=4, seed=0) -> Prior:
    torch.manual_seed(seed)
    prior = Prior(config, codebook_size, n_speakers if config.speaker_dim else 0).eval()
    for parameter in (*prior.post_2.parameters(), *(p for p in prior.parameters() if p.ndim == 1)):
        torch.nn.init.normal_(parameter, std=0.4)  # they begin at zero: a test would see nothing
    return prior


def codes(*shape, codebook_size=K, seed=0) -> torch.Tensor:
    return torch.randint(codebook_size, shape, generator=torch.Generator().manual_seed(seed))


# -- what a code depends on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_size", [2, 3])
def test_a_code_changes_only_what_follows_within_the_receptive_field(kernel_size):
    prior = build(replace(SMALL, kernel_size=kernel_size))
    field = prior.config.receptive_field
    assert field == (kernel_size - 1) * 2 * (1 + 2) + 1
    one = codes(16, field + 20)
    other = one.clone()
    other[:, 6] = (one[:, 6] + 1) % K
    with torch.no_grad():
        changed = (prior(one, torch.arange(16) % 4) != prior(other, torch.arange(16) % 4)).any(1)  # (B, L)
    # never code 6 itself: it would be told what it must say
    assert changed.any(0).nonzero().flatten().tolist() == list(range(7, 7 + field))


def test_items_of_a_batch_do_not_see_each_other():
    prior, said, speaker = build(), codes(3, 12), torch.tensor([0, 3, -1])
    with torch.no_grad():
        alone = torch.cat([prior(said[i : i + 1], speaker[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(prior(said, speaker), alone)


def test_logits_are_those_of_a_loop_over_codes():
    """Every layer written out for every code and tap, with zeros before the beginning."""
    prior, said = build(replace(SMALL, kernel_size=3)), codes(1, 15)
    with torch.no_grad():
        vector = prior.speakers.weight[2]
        before = [K, *said[0, :-1].tolist()]
        x = [prior.codes.weight[code] for code in before]
        total = [torch.zeros(5) for _ in before]
        for index, (layer, dilation) in enumerate(zip(prior.layers, (1, 2, 1, 2))):
            added = prior.speaker.weight[8 * index : 8 * (index + 1)] @ vector
            inputs = x.copy()
            for t in range(len(before)):
                z = layer.gate.bias + added
                for tap in range(3):
                    place = t - (2 - tap) * dilation
                    z = z + layer.gate.weight[:, :, tap] @ (inputs[place] if place >= 0 else torch.zeros(6))
                out = layer.out.weight[:, :, 0] @ (torch.tanh(z[:4]) * torch.sigmoid(z[4:])) + layer.out.bias
                x[t] = (inputs[t] + out[:6]) * math.sqrt(0.5)
                total[t] = total[t] + out[6:]
        skips = torch.stack(total).mul(0.5).relu() @ prior.post_1.weight[:, :, 0].t() + prior.post_1.bias
        expected = skips.relu() @ prior.post_2.weight[:, :, 0].t() + prior.post_2.bias
        torch.testing.assert_close(prior(said, torch.tensor([2]))[0].t(), expected, rtol=0, atol=1e-5)


def test_the_first_code_knows_that_it_is_the_first():
    """An unseen code stands before it, no code of the codebook."""
    prior = build()
    with torch.no_grad():
        first = prior(codes(1, 3), torch.tensor([0]))[:, :, 0]
        for code in range(K):
            said = torch.tensor([[code, 0]])
            assert not torch.allclose(prior(said, torch.tensor([0]))[:, :, 1], first)


# -- speakers ----------------------------------------------------------------------------------------------------------


def test_nobody_is_no_speaker():
    """VQ-VAE-WaveNet's missing speaker was speaker 0."""
    prior, said = build(), codes(1, 5).expand(5, -1)
    with torch.no_grad():
        logits = prior(said, torch.tensor([-1, 0, 1, 2, 3]))
    assert all((logits[0] - logits[i]).abs().max() > 1e-3 for i in range(1, 5))
    assert all(added.abs().max() == 0 for added in prior.spoken(torch.tensor([-1])))


def test_training_withholds_some_speakers_and_use_none():
    prior = build(replace(SMALL, anonymous=0.25))
    speaker = torch.zeros(4000, dtype=torch.long)
    assert all(added.abs().amax((1, 2)).min() > 0 for added in prior.spoken(speaker))
    silent = prior.train().spoken(speaker)[0].abs().amax((1, 2)) == 0
    assert silent.float().mean().item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("speaker", "message"),
    [(None, "give their indices"), ([4], r"\[4\] for a prior of 4"), ([-2], "counted from 0")],
)
def test_speakers_that_it_does_not_know_are_refused(speaker, message):
    with pytest.raises(SpeechlibError, match=message):
        build()(codes(1, 4), None if speaker is None else torch.tensor(speaker))


def test_speakers_for_a_prior_without_them_are_refused():
    prior = build(replace(SMALL, speaker_dim=0))
    assert prior(codes(2, 4)).shape == (2, K, 4)
    with pytest.raises(SpeechlibError, match="knows none"):
        prior(codes(1, 4), torch.tensor([0]))
    for speaker_dim, n_speakers in ((0, 3), (3, 0)):
        with pytest.raises(SpeechlibError, match="both or none"):
            Prior(replace(SMALL, speaker_dim=speaker_dim), K, n_speakers)


# -- codes that are none -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(1, 2, 4, dtype=torch.long), "learns one codebook"),
        (torch.zeros(1, 4), "whole numbers"),
        (torch.tensor([[0, K]]), "0 to 7, the prior's codebook has 7"),
        (torch.tensor([[-1, 0]]), "run from -1"),
    ],
)
def test_what_is_no_code_is_refused(bad, message):
    with pytest.raises(SpeechlibError, match=message):
        build()(bad, torch.tensor([0]))


def test_layers_that_do_not_fit_are_refused_with_the_config():
    with pytest.raises(SpeechlibError, match="5 layers do not divide into 2 stacks"):
        replace(SMALL, n_layers=5)
    with pytest.raises(SpeechlibError, match="dropout is 1.0"):
        replace(SMALL, dropout=1.0)


# -- the objective -----------------------------------------------------------------------------------------------------


def batch(said: torch.Tensor, length: list[int], speaker: list[int]) -> SimpleNamespace:
    return SimpleNamespace(inputs=said[:, None], speaker=torch.tensor(speaker), length=torch.tensor(length))


def test_untrained_it_needs_as_many_bits_as_a_plain_index():
    prior = Prior(SMALL, 32, 4)
    terms = objectives.prior(prior, batch(codes(4, 20, codebook_size=32), [20] * 4, [0, 1, 2, 3]))
    assert terms["bits"].item() == pytest.approx(5, abs=1e-5)
    assert terms["loss"].item() == pytest.approx(5 * math.log(2), abs=1e-5)


def test_padding_does_not_count():
    prior, said = build(), codes(2, 12)
    padded = F.pad(said[1:, :5], (0, 7))
    together = objectives.prior(prior, batch(torch.cat([said[:1], padded]), [12, 5], [0, 1]))["loss"]
    with torch.no_grad():
        apart = torch.cat([prior.nll(said[:1], torch.tensor([0]))[0], prior.nll(said[1:, :5], torch.tensor([1]))[0]])
    assert together.item() == pytest.approx(apart.mean().item(), rel=1e-5)
    nothing = objectives.prior(prior, batch(padded, [0], [1]))
    assert nothing["loss"].item() == 0


# -- a world of known entropy ------------------------------------------------------------------------------------------


def chain(transitions: np.ndarray, n: int, length: int, seed: int) -> np.ndarray:
    """n sequences (n, length) of a Markov chain, begun in its stationary distribution."""
    random = np.random.default_rng(seed)
    states = np.empty((n, length), np.int64)
    states[:, 0] = random.choice(len(transitions), n, p=stationary(transitions))
    cumulative = transitions.cumsum(1)
    for t in range(1, length):
        states[:, t] = (random.random((n, 1)) > cumulative[states[:, t - 1]]).sum(1)
    return states


def stationary(transitions: np.ndarray) -> np.ndarray:
    return np.linalg.matrix_power(transitions, 1000)[0]


def test_it_learns_a_markov_chain_to_its_entropy_rate():
    """H = -sum_i pi_i sum_j p_ij log2 p_ij, which a bigram reaches as well and a unigram cannot."""
    transitions = np.random.default_rng(3).dirichlet(np.full(8, 0.3), 8)
    pi = stationary(transitions)
    rate = -(pi[:, None] * transitions * np.log2(transitions)).sum()
    single = -(pi * np.log2(pi)).sum()
    assert rate < 0.7 * single
    train, held_out = chain(transitions, 384, 64, 0), chain(transitions, 200, 64, 1)
    unigram, bigram = (NGram(train, order, 8) for order in (1, 2))
    assert np.mean([unigram.bits(s) for s in held_out]) == pytest.approx(single, rel=0.02)
    assert np.mean([bigram.bits(s)[1:] for s in held_out]) == pytest.approx(rate, rel=0.02)

    torch.manual_seed(0)
    config = replace(SMALL, n_layers=2, n_stacks=1, residual_channels=16, gate_channels=32, skip_channels=16)
    prior = Prior(replace(config, speaker_dim=0), 8)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.01)
    said, others = torch.from_numpy(train), torch.from_numpy(held_out)
    for step in range(150):
        optimizer.zero_grad()
        terms = objectives.prior(prior, batch(said[step * 32 % 384 :][:32], [64] * 32, [0] * 32))
        terms["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        bits = prior.eval().nll(others)[:, 1:].mean().item() / math.log(2)
    assert bits == pytest.approx(rate, rel=0.03)


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_a_checkpoint_knows_codebook_speakers_and_codec(tmp_path):
    prior = build()
    prior.codec = "0123abcd"
    runs.save_model(tmp_path / "p.safetensors", prior, "prior")
    again = runs.load_model(tmp_path / "p.safetensors")
    assert (again.sizes, again.config) == (prior.sizes, prior.config)
    assert again.sizes == {"codebook_size": K, "n_speakers": 4, "codec": "0123abcd"}
    with torch.no_grad():
        assert torch.equal(again(codes(2, 9), torch.tensor([1, -1])), prior(codes(2, 9), torch.tensor([1, -1])))
