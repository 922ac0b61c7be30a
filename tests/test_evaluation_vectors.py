"""Vectors of codes, row for row with the token table."""

from types import SimpleNamespace

import numpy as np
import torch

from speechlib.evaluation.vectors import gather
from speechlib.models.vqvae import VQVAE, VQVAEConfig
from speechlib.models.vqvae_wavenet import VQWaveNet, VQWaveNetConfig
from speechlib.models.wavenet import WaveNetConfig


def test_what_is_left_behind_the_last_whole_code_has_no_vector():
    torch.manual_seed(0)
    decoder = WaveNetConfig(n_layers=2, n_stacks=1, residual_channels=4, gate_channels=4, skip_channels=4, scales=(4,))
    config = VQWaveNetConfig(encoder="mfcc", channels=4, strides=(2,), code_dim=4, codebook_size=6, decoder=decoder)
    model = VQWaveNet(config, n_features=5).eval()
    features = torch.randn(5, 21)
    found = gather(model, SimpleNamespace(features=lambda i, kind: features), [0], "mfcc")
    assert len(found.inputs) == len(found.z_e) == len(found.z_q) == 10
    codes = model.codes(features[None])[0].numpy()
    assert np.array_equal(found.z_q, model.quantizer.codebook.detach().numpy()[codes])


def test_rows_are_those_of_the_model_in_the_order_of_the_utterances():
    torch.manual_seed(0)
    model = VQVAE(VQVAEConfig(channels=8, code_dim=4, codebook_size=6), n_features=5, n_targets=5, n_speakers=1).eval()
    model.inputs.fit(torch.full((5,), 2.0), torch.full((5,), 3.0))
    features = [torch.randn(5, 20), torch.randn(5, 31), torch.randn(5, 8)]
    pack = SimpleNamespace(features=lambda i, kind: features[i])
    found = gather(model, pack, [2, 0], "mfcc")
    codes = [model.codes(features[i][None])[0].numpy() for i in (2, 0)]
    assert np.array_equal(found.z_q, model.quantizer.codebook.detach().numpy()[np.concatenate(codes)])
    assert len(found.inputs) == len(found.z_e) == len(found.z_q) == sum(map(len, codes))
    # code 1 of the first utterance is centred between its frames 1 and 2
    np.testing.assert_allclose(found.inputs[1], ((features[2][:, 1:3].mean(dim=1) - 2) / 3).numpy(), atol=1e-6)
    np.testing.assert_allclose(
        found.z_e[len(codes[0]) :], model.encode(features[0][None])[0].T.detach().numpy(), atol=1e-6
    )
