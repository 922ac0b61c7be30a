"""Encoders of wave and MFCC: published sizes, what a code sees, and the source's mistakes put right."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechlib.errors import SpeechlibError
from speechlib.models.encoders import GatedEncoder, GatedStridedEncoder, MFCCEncoder, Residual, StridedEncoder

STRIDES, DILATIONS = (2,) * 6, (1, 2, 4, 8, 16, 16)
SOURCE = {
    "strided": lambda: StridedEncoder(64, 768, 5, STRIDES),
    "strided, paper": lambda: StridedEncoder(64, 768, 4, STRIDES),
    "gated": lambda: GatedEncoder(64, 128, 5, DILATIONS),
    "gated_strided": lambda: GatedStridedEncoder(64, 368, 4, STRIDES),
    "mfcc": lambda: MFCCEncoder(13, 64, 768, 2),
}
SMALL = {
    "strided": lambda: StridedEncoder(3, 4, 5, STRIDES),
    "strided, paper": lambda: StridedEncoder(3, 4, 4, STRIDES),
    "640x": lambda: StridedEncoder(3, 4, 5, (2, 2, 2, 2, 2, 4, 5)),
    "gated": lambda: GatedEncoder(3, 4, 5, DILATIONS),
    "gated_strided": lambda: GatedStridedEncoder(3, 4, 4, STRIDES),
    "mfcc": lambda: MFCCEncoder(13, 3, 4, 2),
}


def build(make, seed=0):
    torch.manual_seed(seed)
    return make().eval()


def count(make) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters())


# -- published sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("strided", 14_812_608),  # the reference's 14.81 M
        ("strided, paper", 14_812_608 - 768 - 5 * 768 * 768),  # a tap less in each of the six kernels
        ("gated", 1_191_744),  # 1.19 M
        # the reference's 14.83 M, whose last four layers had kernels of 3 in the place of 1
        ("mfcc", 14_831_680 - 4 * 2 * 768 * 768),
    ],
)
def test_parameters_are_as_many_as_in_the_reference(name, parameters):
    assert count(SOURCE[name]) == parameters


def test_the_default_encoder_is_six_strided_convolutions_each_with_its_norm():
    encoder = build(SMALL["strided"])
    convolutions = [m for m in encoder.layers.modules() if isinstance(m, nn.Conv1d)]
    assert [(c.kernel_size, c.stride) for c in convolutions] == [((5,), (2,))] * 6
    assert sum(isinstance(m, nn.BatchNorm1d) for m in encoder.modules()) == 7


# -- lengths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["strided", "strided, paper", "640x", "gated", "gated_strided"])
def test_a_wave_gives_one_vector_per_hop_and_any_other_length_is_refused(name):
    encoder, hop = build(SMALL[name]), 640 if name == "640x" else 64
    assert encoder.stride == hop
    assert encoder(torch.randn(2, 3 * hop)).shape == (2, 3, 3)
    with pytest.raises(
        SpeechlibError, match=rf"{3 * hop + 1} samples .* multiple of {hop} is needed, such as {3 * hop}"
    ):
        encoder(torch.randn(2, 3 * hop + 1))
    with pytest.raises(SpeechlibError, match="0 samples"):
        encoder(torch.randn(2, 0))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_frames_give_one_vector_per_stride(stride):
    encoder = build(lambda: MFCCEncoder(13, 3, 4, stride))
    assert encoder(torch.randn(2, 13, 20)).shape == (2, 3, 20 // stride)
    if stride > 1:
        with pytest.raises(SpeechlibError, match=f"21 frames .* multiple of {stride} is needed, such as 20"):
            encoder(torch.randn(2, 13, 21))


def test_a_kernel_shorter_than_its_stride_is_refused():
    with pytest.raises(SpeechlibError, match="kernel of 4 steps over 5"):
        StridedEncoder(3, 4, 4, (2, 5))


# -- what a code sees --------------------------------------------------------------------------------------------------


def reached(encoder, length, code):
    """Input steps that a code depends on."""
    x = torch.randn(1, length, requires_grad=True)
    encoder(x)[0, :, code].square().sum().backward()
    return x.grad[0].nonzero().flatten()


def test_gated_encoder_is_causal_future_samples_do_not_change_past_codes():
    encoder = build(SMALL["gated"])
    wave = torch.rand(1, 64 * 20) * 2 - 1
    other = wave.clone()
    other[0, 64 * 10 :] = torch.rand(64 * 10) * 2 - 1
    with torch.no_grad():
        before, after = encoder(wave), encoder(other)
    assert torch.equal(before[..., :11], after[..., :11])  # vector 10 ends with sample 639: one sample late
    assert not torch.equal(before[..., 11:], after[..., 11:])


def test_gated_encoder_sees_the_sample_just_before_its_stretch():
    encoder = build(SMALL["gated"])
    wave = torch.rand(1, 64 * 4) - 0.5
    other = wave.clone()
    other[0, 127] = 0.9
    with torch.no_grad():
        changed = (encoder(wave) != encoder(other)).any(1)[0]
    assert changed.tolist() == [False, False, True, True]


@pytest.mark.parametrize("name", ["strided", "strided, paper", "640x", "gated_strided"])
def test_strided_codes_stand_around_their_own_stretch(name):
    encoder = build(SMALL[name])
    hop = encoder.stride
    seen = reached(encoder, 9 * hop, code=4)
    centre = (seen.min() + seen.max()) / 2
    assert 4 * hop <= centre <= 5 * hop  # the stretch of vector 4
    assert seen.min() < 4 * hop  # all of it, and something of its neighbours
    assert seen.max() >= 5 * hop - 1


# -- each against a plain reckoning ------------------------------------------------------------------------------------


def test_strided_encoder_by_hand():
    encoder = build(lambda: StridedEncoder(1, 1, 4, (2,)))
    (conv, _, norm), project = encoder.layers[0], encoder.project
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]))
        conv.bias.fill_(-5.0)
        norm.running_mean.fill_(2.0), norm.running_var.fill_(4.0 - norm.eps)
        project.weight.fill_(1.0), project.bias.zero_()
        found = encoder(torch.tensor([[1.0, 0.0, -1.0, 2.0]]))[0, 0]
    # windows (0 1 0 -1) and (0 -1 2 0): 2 - 4 - 5 < 0 -> 0; -2 + 6 - 5 < 0 -> 0; then (0 - 2) / 2
    torch.testing.assert_close(found, torch.tensor([-1.0, -1.0]))
    with torch.no_grad():
        found = encoder(torch.tensor([[2.0, 1.0, 1.0, 1.0]]))[0, 0]
    # windows (0 2 1 1): 4 + 3 + 4 - 5 = 6 -> 2; (1 1 1 0): 6 - 5 = 1 -> -0.5
    torch.testing.assert_close(found, torch.tensor([2.0, -0.5]))


def test_gated_layer_against_a_loop_over_steps():
    encoder = build(lambda: GatedEncoder(3, 4, 3, (2,)))
    wave = torch.rand(1, 12) * 2 - 1
    with torch.no_grad():
        found = encoder(wave)[0]
        layer, weight = encoder.layers[0], encoder.layers[0].gate.weight
        late = np.append(0.0, wave[0, :-1])
        heard = torch.tensor(np.sign(late) * np.log(1 + 255 * abs(late)) / np.log(256), dtype=torch.float32)
        padded = torch.cat([torch.zeros(2), heard])
        x = torch.stack([encoder.front.weight[:, 0] @ padded[t : t + 3] + encoder.front.bias for t in range(12)], 1)
        y = layer.halve.weight[..., 0] @ x[:, ::2] + layer.halve.bias[:, None]
        for t in range(6):
            taps = [y[:, t - back] if t >= back else torch.zeros(4) for back in (4, 2, 0)]  # dilation 2
            a, b = (sum(weight[..., k] @ taps[k] for k in range(3)) + layer.gate.bias).chunk(2)
            z = y[:, t] + layer.out.weight[..., 0] @ (a.tanh() * b.sigmoid()) + layer.out.bias
            expected = encoder.project.weight[..., 0] @ z + encoder.project.bias
            torch.testing.assert_close(found[:, t], expected, rtol=1e-4, atol=1e-5)


def test_gated_strided_layer_is_gate_plus_shortcut():
    encoder = build(lambda: GatedStridedEncoder(3, 4, 4, (2,)))
    wave = torch.randn(2, 8)
    with torch.no_grad():
        a, b = F.conv1d(F.pad(wave[:, None], (1, 1)), encoder.gates[0].weight, encoder.gates[0].bias, 2).chunk(2, 1)
        shortcut = encoder.shortcuts[0].weight[:, 0] * wave[:, None, ::2] + encoder.shortcuts[0].bias[:, None]
        expected = encoder.norm(encoder.project(a.tanh() * b.sigmoid() + shortcut))
        torch.testing.assert_close(encoder(wave), expected)


# -- mistakes of the source --------------------------------------------------------------------------------------------


def test_mistake_1_residuals_of_the_mfcc_encoder_are_true_a_zero_branch_is_the_identity():
    """The source adds a branch to itself in the last block."""
    encoder = build(lambda: MFCCEncoder(13, 3, 4, 2))
    blocks = [m for m in encoder.modules() if isinstance(m, Residual)]
    assert [b.branch[0].kernel_size[0] for b in blocks] == [3, 3, 3, 1, 1, 1, 1]  # and its last four are no 1x1
    x = torch.randn(2, 4, 6)
    for block in blocks:
        torch.testing.assert_close(block(x), x + block.branch(x))
        nn.init.zeros_(block.branch[0].weight), nn.init.zeros_(block.branch[0].bias)
        assert torch.equal(block(x), x)


def test_mistake_1_a_crop_of_the_source_is_refused_with_the_multiple_that_is_needed():
    """6,656 samples are 41.6 frames, and 21 codes of 320 are 6,720 samples."""
    with pytest.raises(SpeechlibError, match="41 frames .* multiple of 2 is needed, such as 40 or 42"):
        build(SMALL["mfcc"])(torch.randn(1, 13, 6_656 // 160))
    assert build(SMALL["mfcc"])(torch.randn(1, 13, 5_120 // 160)).shape[-1] == 16


@pytest.mark.parametrize("name", ["strided", "gated_strided"])
def test_mistake_2_norms_learn_in_training_and_rest_in_evaluation(name):
    """The source's BatchNorm had no training flag and kept the statistics it began with."""
    encoder = build(SMALL[name]).train()
    wave = 3 * torch.randn(4, 256) + 1
    before = {k: v.clone() for k, v in encoder.state_dict().items() if "running" in k}
    trained = encoder(wave)
    after = {k: v.clone() for k, v in encoder.state_dict().items() if "running" in k}
    assert before
    assert all(not torch.equal(before[k], after[k]) for k in before)
    torch.testing.assert_close(trained.mean((0, 2)), torch.zeros(3), atol=1e-5, rtol=0)  # its own statistics
    rested = encoder.eval()(wave)
    assert (trained - rested).abs().max() > 0.1
    assert all(torch.equal(after[k], v) for k, v in encoder.state_dict().items() if "running" in k)


def test_normed_vectors_have_deviation_one():
    encoder = build(lambda: MFCCEncoder(13, 3, 4, 2, normed=True)).train()
    z = encoder(torch.randn(8, 13, 40))
    torch.testing.assert_close(z.var((0, 2), unbiased=False), torch.ones(3), atol=1e-2, rtol=0)
