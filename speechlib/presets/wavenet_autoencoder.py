"""Presets of the WaveNet autoencoders: instance norm (IN-WAE), sliced codes (SVQ-WAE), and what they are compared with.

    <tier>  <tier>_plain  <tier>_vae  <tier>_vq  <tier>_svq        tier: smoke, demo or paper

are one family: IN, AE, VAE, VQ and SVQ, otherwise alike. `paper` is the IN-WAE that MingjieChen/wavenet_autoencoders
submitted to ZeroSpeech 2020 (`in_wae`, the mistakes of the source put right), `paper_svq` its SVQ-WAE (`svq_wae`); the
other names are its other configurations. Steps are those of the English submissions.

At `demo` the decoder is the vocoder that comes with the package, and stays as it is: bands are drawn for it, so that
all that learns is what the bottleneck needs.
"""

from dataclasses import replace

from ..features import FeatureConfig
from ..models.wavenet_autoencoder import SOURCE_DECODER, WaveNetAutoencoderConfig
from ..packs import PackConfig
from ..training import TrainingConfig
from . import vqvae_wavenet
from .experiment import WAVE, CorpusConfig, Experiment, SplitConfig

MFCC39_80 = FeatureConfig("mfcc", n_fft=400, win_length=400, n_mels=80, n_deltas=2)

# What makes each of the family; `plain` has none of it.
_IN = {"normed": True, "reference": "simple", "adain_layers": 2}
_BOTTLENECKS = {
    "": _IN,
    "plain": {},
    "vae": {"quantizer": "gaussian"},
    "vq": {"quantizer": "gradient"},
    "svq": {"quantizer": "gradient", "code_dim": 128, "slices": (32,) * 4},
}


def _family(plain: Experiment, changes: dict[str, dict]) -> dict[str, Experiment]:
    """The tier's five presets; `changes` are to each, beside those that make it."""
    tier, found = plain.preset, {}
    for kind, makes in _BOTTLENECKS.items():
        preset = f"{tier}_{kind}" if kind else tier
        model = replace(plain.model, **makes | changes.get(kind, {}))
        found[preset] = replace(plain, preset=preset, model=model)
    return found


def _variant(of: Experiment, preset: str, training: dict | None = None, **model) -> Experiment:
    return replace(
        of, preset=preset, model=replace(of.model, **model), training=replace(of.training, **(training or {}))
    )


_paper = _family(
    Experiment(
        system="wavenet_autoencoder",
        preset="paper",
        corpus=CorpusConfig("zerospeech"),
        pack=PackConfig(features=(MFCC39_80,), trim="silence", top_db=60.0, peak_normalise=False, high_pass=70.0),
        split=SplitConfig("stratified", {"train": 0.99, "val": 0.01}),
        model=WaveNetAutoencoderConfig(decoder=replace(SOURCE_DECODER, emphasis=0.85, emphasis_scale=0.55)),
        training=TrainingConfig(
            steps=610_000,
            batch_size=10,
            n_frames=32,  # 5,120 samples: 8 codes
            learning_rate=4e-4,
            learning_rates=((400_000, 2e-4),),
            ema_decay=0.9999,
            log_every=200,
            validate_every=5_000,
            checkpoint_every=5_000,
            sample_every=50_000,
        ),
        inputs="mfcc",
        targets=WAVE,
    ),
    # the bound on a sample's likelihood counts a code's KL once in its 640 samples
    {"vae": {"kl_cost": 1 / 640}},
)
for _name in ("paper_vq", "paper_svq"):
    _paper[_name] = _variant(_paper[_name], _name, {"steps": 350_000, "grad_clip": 100.0})

_in, _svq = _paper["paper"], _paper["paper_svq"]
_at_50 = {"stride": 2, "decoder": replace(_in.model.decoder, scales=(4, 4, 4, 5), speaker_dim=64)}
_source = (
    replace(_in, preset="in_wae"),
    _variant(_in, "in_wae_50hz", **_at_50),  # inae_hp.json
    _variant(_in, "in_wae_submitted", adain_normed=False),
    _variant(_in, "in_wae_bank", reference="bank", reference_channels=128, adain_layers=6),  # INAE1
    # NewINAE: the voice that was read takes the place of the speaker's number
    _variant(_in, "in_wae_reference", voice_by="reference", decoder=replace(_in.model.decoder, speaker_dim=0)),
    _variant(_in, "in_wae_feed_forward", feed_forward=True),  # with the layers that the paper has
    replace(_svq, preset="svq_wae"),
    _variant(_svq, "svq_wae_ema", quantizer="ema", slices=(64, 64), slice_sizes=(256, 128)),  # a second size, K1
    _variant(_svq, "svq_wae_swapped", codebook_cost=0.25, commitment_cost=1.0),  # as the source has the weights
    _variant(_svq, "svq_wae_regularised", jitter=0.12, token_dropout=0.05),
    _variant(
        _svq,
        "categorical",  # CatWavAE
        quantizer="gumbel",
        codebook_size=128,
        slices=(64, 64),
        kl_cost=0.0,
        cooling=200_000,
    ),
    _variant(
        _paper["paper_vq"],
        "newest",  # the state of April 2022
        {"batch_size": 40},
        channels=256,
        half_kernel=5,
        edges="zeros",
        feed_forward=True,
        decoder=replace(_in.model.decoder, gate_channels=256),
    ),
)

_codec = vqvae_wavenet.PRESETS["demo"]
_demo = replace(
    _codec,
    system="wavenet_autoencoder",
    model=WaveNetAutoencoderConfig(
        channels=112,
        stride=2,
        reference_channels=64,
        voice_dim=16,
        draw_channels=96,
        speaker_dim=16,
        decoder=_codec.model.decoder,
    ),
    training=replace(
        _codec.training,
        steps=500,
        batch_size=12,
        n_frames=64,
        schedule="cosine",
        start_from="wavenet",
        frozen=("decoder",),
        log_every=10,
        validate_every=250,
        validate_batches=1,  # the decoder is most of its work
        checkpoint_every=500,
    ),
)
# Few steps: codebooks that follow by averages from a k-means start are in use at once.
_quick = {"quantizer": "ema", "ema_decay": 0.95, "codebook_init": "kmeans", "reseed": 0.1}
_SMALL = {"vae": {"kl_cost": 0.001}, "vq": _quick, "svq": _quick | {"code_dim": 64, "slices": (16,) * 4}}
_smoke = replace(
    _demo,
    preset="smoke",
    model=replace(
        _demo.model, channels=32, code_dim=16, codebook_size=64, draw_channels=32, speaker_dim=8, voice_dim=8
    ),
    training=replace(_demo.training, steps=30, batch_size=4, n_frames=48, log_every=1, warmup=5, validate_every=15),
)
_SMOKE = _SMALL | {"svq": _quick | {"code_dim": 16, "slices": (4,) * 4}}

PRESETS = _family(_smoke, _SMOKE) | _family(_demo, _SMALL) | _paper | {preset.preset: preset for preset in _source}


def _against(of: Experiment, preset: str, **model) -> Experiment:
    return replace(_variant(of, preset, **model), system="adversarial_autoencoder")


# Bands count as an error of variance 1, samples as nats: beside the first the source's weight would be lost.
ADVERSARIAL_PRESETS = {
    "smoke": _against(PRESETS["smoke_plain"], "smoke", critic_channels=32, adversarial_weight=0.1),
    "demo": _against(PRESETS["demo_plain"], "demo", critic_channels=64, adversarial_weight=0.1),
    # spad_ae_model.py
    "paper": _against(PRESETS["paper_plain"], "paper", reference="simple", adain_layers=4, adain_relu=True),
}
