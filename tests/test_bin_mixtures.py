"""The baseline of MelNet: mixtures per bin against scikit-learn's, and against a mixture that is known."""

import torch
from sklearn.mixture import GaussianMixture

from speechlib.evaluation import bin_mixtures
from speechlib.models import mixtures


def two_humps(n=4000) -> torch.Tensor:
    """(n, 2): a bin of two humps, -3 and 2, and one of a single Gaussian."""
    g = torch.Generator().manual_seed(0)
    which = torch.rand(n, generator=g) < 0.3
    noise = torch.randn(n, 2, generator=g)
    return torch.stack([torch.where(which, -3 + 0.5 * noise[:, 0], 2 + noise[:, 0]), 5 + 2 * noise[:, 1]], dim=1)


def test_a_known_mixture_is_found():
    found = bin_mixtures.fit(two_humps(), 2)
    torch.testing.assert_close(found.weight[0], torch.tensor([0.3, 0.7]), rtol=0, atol=0.03)
    torch.testing.assert_close(found.mean[0], torch.tensor([-3.0, 2.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(found.sigma[0], torch.tensor([0.5, 1.0]), rtol=0, atol=0.05)


def test_likelihood_is_that_of_scikit_learn():
    x = two_humps()
    found = bin_mixtures.fit(x, 2, n_iter=200)
    for j in range(2):
        reference = GaussianMixture(2, means_init=torch.quantile(x[:, j], torch.tensor([0.25, 0.75]))[:, None].numpy(),
                                    tol=1e-9, max_iter=500).fit(x[:, j : j + 1].numpy())  # fmt: skip
        own = found.nll(x.t())[j].mean().item()
        assert abs(own + reference.score(x[:, j : j + 1].numpy())) < 5e-3


def test_likelihood_is_that_of_the_models_own_mixture():
    found = bin_mixtures.fit(two_humps(), 3)
    theta = torch.cat([found.weight.log(), found.mean, found.sigma.log()], dim=1)  # (F, 3K)
    x = torch.randn(5, 2, 7)
    expected = mixtures.GaussianMixture(3).nll(theta[None, :, None], x)
    torch.testing.assert_close(found.nll(x), expected, rtol=1e-5, atol=1e-5)


def test_values_that_are_all_the_same_keep_a_deviation():
    found = bin_mixtures.fit(torch.zeros(50, 3), 4)
    assert all(part.isfinite().all() for part in found)
    assert found.nll(torch.zeros(3, 2)).isfinite().all()
