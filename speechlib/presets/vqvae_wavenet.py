"""Presets of the VQ-VAE with a WaveNet decoder.

The source is DongyaoZhu/VQ-VAE-WaveNet on VCTK at 16 kHz; its crops of 6,656 samples are no whole codes of 320. All of
its siblings here take 6,400: a multiple of 64, 320 and 640 alike, and still more than the 6,170 samples that the
decoder sees. `demo` and `long` speak at 8 kHz from 50 codes per second: bands are drawn from the codes, and
the decoder is the vocoder of presets/wavenet.py.
"""

from dataclasses import replace

from ..features import LOG_MEL, MFCC39, FeatureConfig
from ..models.vqvae_wavenet import SOURCE_DECODER, VQWaveNetConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from . import wavenet
from .experiment import WAVE, CorpusConfig, Experiment, SplitConfig

MFCC39_8K = FeatureConfig("mfcc", 8_000, n_fft=256, win_length=200, hop_length=80, n_mels=40, n_deltas=2)
MEL_24K = FeatureConfig("log_mel", 24_000, n_fft=1024, win_length=960, hop_length=240)

_STAIRS = ((80_000, 6e-5), (160_000, 4e-5), (240_000, 2e-5), (320_000, 1e-5), (400_000, 8e-6))

_paper = Experiment(
    system="vqvae_wavenet",
    preset="paper",
    corpus=CorpusConfig("vctk"),
    pack=PackConfig(features=(LOG_MEL,), trim="silence"),
    split=SplitConfig(parts={"train": 0.95, "val": 0.05}),
    model=VQWaveNetConfig(codebook_init="unit_scaling"),
    training=TrainingConfig(
        steps=1_000_000,
        batch_size=8,
        n_frames=40,  # 6,400 samples
        learning_rate=8e-5,
        learning_rates=_STAIRS,
        ema_decay=0.999,
        log_every=200,
        validate_every=5_000,
        checkpoint_every=10_000,
    ),
    inputs=WAVE,
    targets=WAVE,
)
# What its README speaks of, and no key of its config could choose.
_paper_joint = replace(
    _paper,
    preset="paper_joint",
    model=replace(_paper.model, quantizer="joint", codebook_init="orthogonal"),
)
_paper_softmax = replace(
    _paper,
    preset="paper_softmax",
    model=replace(_paper.model, quantizer="softmax", codebook_init="normal"),
)
# Encoder and codebook first, and a decoder for them alone. What the first stage learns from is a WaveNet that sees 64
# samples, 4 ms: whatever lasts longer the codes must tell it.
_paper_first_stage = replace(
    _paper,
    preset="paper_first_stage",
    model=replace(
        _paper.model,
        decoder=replace(
            SOURCE_DECODER,
            n_layers=6,
            n_stacks=1,
            kernel_size=2,
            residual_channels=64,
            gate_channels=128,
            skip_channels=64,
            front_kernel=1,
        ),
    ),
)
_paper_two_stage = replace(
    _paper,
    preset="paper_two_stage",
    training=replace(_paper.training, frozen=("encoder", "quantizer")),
    source=_paper_first_stage,
)
_paper_plain = replace(_paper, preset="paper_plain", model=replace(_paper.model, quantizer="none"))  # use_vq = false
_paper_2017 = replace(
    _paper,
    preset="paper_2017",
    model=replace(_paper.model, kernel_size=4, quantizer="ema", ema_decay=0.99, codebook_init="normal"),
)
_paper_gated = replace(
    _paper,
    preset="paper_gated",
    model=replace(_paper.model, encoder="gated", channels=128),
)
_paper_mfcc = replace(
    _paper,
    preset="paper_mfcc",
    pack=PackConfig(features=(MFCC39,), trim="silence"),
    model=replace(
        _paper.model,
        encoder="mfcc",
        strides=(2,),
        jitter=0.12,
        condition_channels=128,
        decoder=replace(SOURCE_DECODER, scales=(2, 160)),
    ),
    inputs="mfcc",
)
_paper_phones = replace(
    _paper_2017,
    preset="paper_phones",
    model=replace(
        _paper_2017.model,
        codebook_size=128,
        kernel_size=5,  # over strides up to 5
        strides=(2, 2, 2, 2, 2, 4, 5),
        decoder=replace(SOURCE_DECODER, scales=(640,)),
    ),
)
_paper_accent = replace(
    _paper,
    preset="paper_accent",
    pack=PackConfig(sample_rate=24_000, features=(MEL_24K,), trim="silence", top_db=25.0),
    model=replace(
        _paper.model,
        encoder="gated_strided",
        channels=368,
        kernel_size=4,
        voices="accent",
        decoder=replace(SOURCE_DECODER, output="gaussian", min_log_scale=-8.0, n_layers=20, n_stacks=2),
    ),
    training=replace(
        _paper.training,
        n_frames=32,  # 7,680 samples
        learning_rate=1e-4,
        learning_rates=tuple((100_000 * k, 1e-4 / 2**k) for k in range(1, 10)),
        grad_clip=9.0,
    ),
)

_vocoder = wavenet.PRESETS["demo"]
_demo = replace(
    _vocoder,
    system="vqvae_wavenet",
    pack=PackConfig(sample_rate=8_000, features=(wavenet.MEL_8K, MFCC39_8K)),
    model=VQWaveNetConfig(
        encoder="mfcc",
        channels=112,
        strides=(2,),
        code_dim=64,
        codebook_size=256,
        quantizer="ema",
        ema_decay=0.95,  # quick to follow an encoder that moves: phones read from codes 57 % instead of 54 %
        codebook_init="kmeans",
        reseed=0.1,
        normed=True,
        draw_channels=96,
        speaker_dim=16,
        decoder=_vocoder.model,
    ),
    inputs="mfcc",
)
_smoke = replace(
    _demo,
    preset="smoke",
    model=replace(
        _demo.model,
        channels=32,
        code_dim=16,
        codebook_size=64,
        draw_channels=32,
        speaker_dim=8,
        decoder=wavenet.PRESETS["smoke"].model,
    ),
    training=replace(wavenet.PRESETS["smoke"].training, n_frames=26),
)
# In two stages, after a vocoder: what is drawn needs many cheap steps, the decoder few more.
_codes = replace(
    _demo,
    preset="codes",
    training=replace(
        _demo.training,
        steps=6_000,
        batch_size=16,
        n_frames=96,
        schedule="cosine",
        ema_decay=0.999,
        start_from="wavenet",
        frozen=("decoder",),
        log_every=50,
        validate_every=500,
        checkpoint_every=1_000,
    ),
)
_long = replace(
    _demo,
    preset="long",
    source=_codes,
    training=replace(
        wavenet.PRESETS["long"].training,
        steps=4_000,
        learning_rate=1e-3,
        learning_rates=((2_800, 3e-4),),
        frozen=("encoder", "quantizer"),
    ),
)

PRESETS = {
    preset.preset: preset
    for preset in (
        _smoke,
        _demo,
        _codes,
        _long,
        _paper,
        _paper_joint,
        _paper_softmax,
        _paper_first_stage,
        _paper_two_stage,
        _paper_plain,
        _paper_2017,
        _paper_gated,
        _paper_mfcc,
        _paper_phones,
        _paper_accent,
    )
}
