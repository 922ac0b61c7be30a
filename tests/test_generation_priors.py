"""Sampling with cached states against teacher forcing, and against the whole forward pass for every code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlib.errors import SpeechlibError
from speechlib.generation.priors import CachedPrior, sample
from speechlib.models.distributions import choose
from speechlib.models.prior import Prior, PriorConfig

SMALL = PriorConfig(
    n_layers=4, n_stacks=2, residual_channels=6, gate_channels=8, skip_channels=5, speaker_dim=3, dropout=0.2
)
K = 7


def build(config: PriorConfig = SMALL, codebook_size=K, seed=0) -> Prior:
    torch.manual_seed(seed)
    prior = Prior(config, codebook_size, 4 if config.speaker_dim else 0).eval()
    for parameter in (*prior.post_2.parameters(), *(p for p in prior.parameters() if p.ndim == 1)):
        torch.nn.init.normal_(parameter, std=0.4)  # they begin at zero: a test would see nothing
    return prior


def random_case(seed: int):
    """A prior of random shape, codes (3, 90) and speakers for it."""
    pick = np.random.default_rng(seed)
    n_stacks = int(pick.integers(1, 4))
    config = PriorConfig(
        n_stacks=n_stacks,
        n_layers=n_stacks * int(pick.integers(1, 6)),
        kernel_size=2 + seed % 3,
        residual_channels=int(pick.integers(1, 40)),
        gate_channels=2 * int(pick.integers(1, 30)),
        skip_channels=int(pick.integers(1, 40)),
        speaker_dim=5 * int(pick.integers(2)),
    )
    size = int(pick.integers(1, 300))
    speaker = torch.from_numpy(pick.integers(-1, 4, 3)) if config.speaker_dim else None
    return build(config, size, seed), torch.from_numpy(pick.integers(0, size, (3, 90))), speaker


@pytest.mark.parametrize("seed", range(12))
def test_logits_are_those_of_teacher_forcing(seed):
    """Within 1e-5 of the largest, in pieces, beyond every ring."""
    prior, codes, speaker = random_case(seed)
    with torch.no_grad():
        expected = prior(codes, speaker)
    cached = CachedPrior(prior, speaker, n_streams=3)
    got = torch.cat([cached.force(piece) for piece in codes.split([1, 30, 2, 57], dim=1)], dim=2)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * max(1, expected.abs().max().item()))


def sample_slowly(prior, n_codes, speaker, prompt, seed, temperature, top_p):
    """The whole sequence anew for every code, for two streams."""
    sources = [np.random.default_rng([seed, b]) for b in range(2)]
    codes = prompt
    for _ in range(n_codes):
        with torch.no_grad():  # what stands in the last place is what will be drawn: the logits do not see it
            logits = prior(torch.cat([codes, torch.zeros(2, 1, dtype=torch.long)], dim=1), speaker)[:, :, -1]
        uniform = torch.tensor([source.random() for source in sources])
        codes = torch.cat([codes, choose(logits, uniform.double(), temperature, top_p)[:, None]], dim=1)
    return codes[:, prompt.shape[1] :]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8), (0.0, 1.0)])
@pytest.mark.parametrize("given", [0, 5])
def test_codes_are_those_of_the_whole_forward_pass(temperature, top_p, given):
    prior, speaker = build(), torch.tensor([2, -1])
    prompt = torch.randint(K, (2, given), generator=torch.Generator().manual_seed(1))
    options = {"seed": 3, "temperature": temperature, "top_p": top_p}
    expected = sample_slowly(prior, 40, speaker, prompt, **options)
    got = sample(prior, 40, speaker, prompt=prompt if given else None, **options)
    assert got.tolist() == expected.tolist()
    assert got.shape == (2, 40)


def test_a_stream_is_its_seed_and_number_whatever_is_beside_it():
    prior, speaker = build(), torch.tensor([1])
    three, two = sample(prior, 30, speaker, n_streams=3, seed=4), sample(prior, 30, speaker, n_streams=2, seed=4)
    assert torch.equal(three[:2], two)
    assert len({tuple(row) for row in three.tolist()}) == 3
    assert torch.equal(sample(prior, 12, speaker, n_streams=2, seed=4), two[:, :12])
    assert not torch.equal(sample(prior, 30, speaker, n_streams=2, seed=5), two)


def test_one_prompt_serves_all_streams_and_one_speaker_too():
    prior, prompt = build(), torch.tensor([1, 2, 3, 4])
    speakers = torch.tensor([0, 1, 3])
    together = sample(prior, 9, speakers, prompt=prompt, seed=2, temperature=0)
    apart = [sample(prior, 9, s[None], prompt=prompt[None], seed=2, temperature=0)[0] for s in speakers]
    assert torch.equal(together, torch.stack(apart))


def test_frequencies_are_the_probabilities():
    """A prior whose logits are one table: 20,000 first codes come as often as it says, tempered as it should."""
    prior = build(replace(SMALL, speaker_dim=0))
    with torch.no_grad():
        prior.post_2.weight.zero_()
        prior.post_2.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.25, 0.1, 0.05, 1e-9]).log())
    drawn = sample(prior, 50, n_streams=400)
    share = torch.bincount(drawn.flatten(), minlength=K) / drawn.numel()
    torch.testing.assert_close(share, torch.tensor([0.1, 0.2, 0.3, 0.25, 0.1, 0.05, 0]), rtol=0, atol=0.012)
    assert set(sample(prior, 50, n_streams=40, top_p=0.5).unique().tolist()) == {2, 3}  # .3 + .25 is the nucleus
    assert set(sample(prior, 50, n_streams=4, temperature=0).unique().tolist()) == {2}


def test_dropout_is_not_heard():
    prior = build().train()
    with pytest.raises(SpeechlibError, match=r"prior.eval\(\)"):
        sample(prior, 5, torch.tensor([0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_codes": 0}, "0 codes"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"n_streams": 0}, "n_streams 0"),
        ({"seed": -1}, "seed is -1"),
        ({"prompt": torch.zeros(0, dtype=torch.long)}, "prompt is empty"),
        ({"prompt": torch.tensor([-1])}, "codes run from -1"),
        ({"prompt": torch.tensor([1.0])}, "wanted whole numbers"),
        ({"speaker": torch.tensor([0.0])}, "speakers of shape .* wanted whole numbers"),
        ({"speaker": None}, "was trained with speakers"),
        ({"top_p": 0.0}, r"top_p 0.0 lie in \(0, 1\]"),
        ({"speaker": torch.tensor([0, 1]), "n_streams": 3}, "speaker 2, n_streams 3"),
        ({"speaker": torch.tensor([9])}, r"speakers \[9\]"),
        ({"prompt": torch.tensor([0, K])}, "codebook has 7"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(SpeechlibError, match=message):
        sample(build(), **({"n_codes": 3, "speaker": torch.tensor([0])} | options))


def test_weights_that_are_not_finite_are_refused_by_name():
    prior = build()
    with torch.no_grad():
        prior.post_1.bias[2] = torch.nan
    with pytest.raises(SpeechlibError, match=r"1 of \d+ weights of post_1\.bias are not finite"):
        sample(prior, 3, torch.tensor([0]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_codes_are_the_same():
    prior, speaker = build(), torch.tensor([0, 3])
    here = sample(prior, 40, speaker, seed=1)
    there = sample(prior.cuda(), 40, speaker, seed=1)
    assert there.device.type == "cpu"
    assert (here == there).float().mean() > 0.9  # one rounding at an edge may send a stream elsewhere
