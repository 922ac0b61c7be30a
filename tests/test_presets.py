"""Presets, the nine sets of the source, and sweeps: every choice visible, every misspelling refused before training."""

from dataclasses import replace

import pytest
import torch

from speechlib import configs, presets, runs, training
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.features import PSF_MFCC39
from speechlib.models.vqvae import VQVAE
from speechlib.presets import SETS, Experiment, Sweep

ALL = [(system, preset) for system, presets_ in presets.names().items() for preset in presets_]


@pytest.mark.parametrize(("system", "preset"), ALL)
def test_every_preset_is_what_its_name_says_and_survives_json(system, preset):
    experiment = presets.get(system, preset)
    assert (experiment.system, experiment.preset, experiment.seed) == (system, preset, 0)
    assert configs.from_dict(Experiment, configs.to_dict(experiment)) == experiment
    known = {presets.WAVE, *(config.kind for config in experiment.pack.features)}
    assert {experiment.inputs, experiment.targets} <= known | ({presets.CODES} if experiment.source else set())


def test_paper_holds_the_numbers_of_the_source():
    experiment = presets.get("vqvae", "paper")
    model, training = experiment.model, experiment.training
    assert (model.codebook_size, model.code_dim, model.channels, model.residual_layers) == (44, 64, 768, 2)
    assert (model.commitment_cost, model.quantizer, model.jitter, model.speaker_dim) == (0.25, "gradient", 0.0, 0)
    assert (training.learning_rate, training.optimizer, training.amsgrad, training.batch_size) == (
        2e-4,
        "adam",
        True,
        2,
    )
    assert (training.n_frames, training.schedule, training.ema_decay, training.grad_clip) == (47, "constant", 0, 0)
    assert experiment.split.parts == {"train": 0.8, "val": 0.2}
    assert experiment.corpus.name == "vctk"
    assert experiment.pack.features == (PSF_MFCC39,)
    assert training.steps == 15 * 17_696  # epochs of half as many batches as 80 % of VCTK has utterances
    network = VQVAE(model, n_features=39, n_targets=39, n_speakers=109)
    assert sum(p.numel() for p in network.parameters()) == 21_097_575


def test_any_preset_can_be_pointed_elsewhere():
    experiment = presets.get("vqvae", "smoke", "folder", "~/recordings", seed=7, changes={"model.codebook_size": 9})
    assert (experiment.corpus.name, experiment.corpus.root) == ("folder", "~/recordings")
    assert (experiment.seed, experiment.model.codebook_size) == (7, 9)
    assert presets.get("vqvae", "paper", corpus_root="/data/vctk").corpus == presets.CorpusConfig("vctk", "/data/vctk")
    assert presets.get("vqvae", "smoke").corpus.name == "toy"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vqvea", "smoke"), "unknown system 'vqvea'. Did you mean 'vqvae'"),
        (("vqvae", "smok"), "unknown preset of vqvae 'smok'. Did you mean 'smoke'"),
        (("vqvae", "smoke", "", "", 0, {"model.codebok_size": 3}), "Did you mean 'codebook_size'"),
        (("vqvae", "smoke", "", "", 0, {"modle.codebook_size": 3}), "Did you mean 'model'"),
        (("vqvae", "smoke", "", "", 0, {"model.codebook_size": "many"}), "model.codebook_size needs int"),
        (("vqvae", "smoke", "", "", 0, {"training.optimizer": "sdg"}), "unknown training.optimizer 'sdg'"),
    ],
)
def test_misspellings_are_told(arguments, words):
    with pytest.raises(SpeechlibError, match=words):
        presets.get(*arguments)


# reference/vqvae_speech.md, section 4
PUBLISHED = {
    "vq44-mfcc39": ["baseline", "jitter12"],
    "vq29-mfcc39": [
        "baseline", "baseline-with-speaker-conditioning", "jitter12", "ema", "kaiming", "jitter12-ema",
        "jitter12-kaiming", "jitter12-ema-kaiming",
    ],
    "mfcc39-codebook_sizes": [f"baseline-{k}" for k in (10, 44, 100, 500, 1000)],
    "vq44-mfcc39-batch_sizes": [f"baseline-{size}" for size in (2, 16, 32, 64)],
    "vq44-mfcc39-lengths": ["baseline-30720", "jitter12-30720"],
    "vq44-mfcc39-seeds": [f"{name} seed={seed}" for name in ("baseline", "jitter12") for seed in (1234, 5678, 4242)],
    "mfcc39-codebook_stats": ["baseline"],
    "vq10x2-mfcc39": ["baseline"],
    "vq44-mfcc39-gradient_stats": ["baseline"],
}  # fmt: skip


def test_the_nine_sets_of_the_source_are_there():
    assert {name: list(presets.named_set(name)) for name in SETS} == PUBLISHED


def test_members_of_the_sets_differ_from_paper_where_the_source_says():
    def changes(name, member):
        flat, paper = configs.flatten(presets.named_set(name)[member]), configs.flatten(presets.get("vqvae", "paper"))
        return {key: value for key, value in flat.items() if value != paper[key]}

    crops = 35_393
    assert changes("vq44-mfcc39", "baseline") == {}
    assert changes("vq44-mfcc39", "jitter12") == {"model.jitter": 0.12}
    assert changes("vq29-mfcc39", "jitter12-ema-kaiming") == {
        "model.codebook_size": 29, "model.jitter": 0.12, "model.quantizer": "ema", "model.weight_norm": True,
    }  # fmt: skip
    assert changes("vq29-mfcc39", "baseline-with-speaker-conditioning") == {
        "model.codebook_size": 29, "model.speaker_dim": 40,
    }  # fmt: skip
    assert changes("mfcc39-codebook_sizes", "baseline-1000") == {"model.codebook_size": 1000}
    assert changes("vq44-mfcc39-batch_sizes", "baseline-64") == {
        "training.batch_size": 64, "training.steps": 15 * (crops // 64),
    }  # fmt: skip
    assert changes("vq44-mfcc39-lengths", "baseline-30720") == {
        "training.batch_size": 16, "training.steps": 25 * (crops // 16), "training.n_frames": 191,
    }  # fmt: skip
    assert changes("vq44-mfcc39-seeds", "baseline seed=4242") == {"seed": 4242, "training.steps": 10 * (crops // 2)}
    assert changes("mfcc39-codebook_stats", "baseline") == {
        "model.codebook_size": 10, "model.code_dim": 2, "training.record_codebook": True,
        "training.steps": 10 * (crops // 2),
    }  # fmt: skip
    assert changes("vq44-mfcc39-gradient_stats", "baseline") == {
        "training.record_gradients": True, "training.batch_size": 32, "training.steps": 20 * (crops // 32),
    }  # fmt: skip


def test_a_set_in_another_size_is_still_about_the_same():
    small = presets.get("vqvae", "smoke")
    for name in SETS:
        for member, experiment in presets.named_set(name, "smoke", "folder", "/x").items():
            source = presets.named_set(name)[member]
            assert experiment.corpus == presets.CorpusConfig("folder", "/x")
            assert experiment.training.steps == small.training.steps
            assert experiment.training.batch_size == source.training.batch_size
            assert replace(experiment.model, channels=768) == source.model
            assert (experiment.inputs, experiment.targets, experiment.seed) == ("psf_mfcc", "psf_mfcc", source.seed)
        sizes = {runs.identity(configs.to_dict(member)) for member in presets.named_set(name, "smoke").values()}
        assert len(sizes) == len(PUBLISHED[name])
    with pytest.raises(UnknownName, match="Did you mean 'vq44-mfcc39'"):
        presets.named_set("vq44-mfc39")


def test_sizes_of_the_vae_differ_from_the_preset_in_one_thing_each():
    for preset in ("smoke", "demo", "source"):
        members = presets.named_set(presets.VAE_SIZES, preset)
        base = configs.flatten(members["as it is"])
        changed = {name: {k for k, v in configs.flatten(e).items() if v != base[k]} for name, e in members.items()}
        optimiser = {"training.optimizer", "training.learning_rate"}
        assert [k - {"training.betas"} for k in changed.values()] == [
            set(), {"model.latent_dim"}, {"model.latent_dim"}, {"pack.features"}, optimiser
        ]  # fmt: skip
        filters = {e.pack.features[-1].n_mels for e in members.values()}
        assert filters == {40, 80}
        assert len({runs.identity(configs.to_dict(e)) for e in members.values()}) == 5


def test_a_sweep_is_every_combination_once():
    sweep = Sweep(
        preset="smoke",
        seeds=(1, 2),
        changes={"training.steps": 5},
        grid={"model.codebook_size": [10, 44], "model.jitter": [0.0, 0.12]},
        experiments={"plain": None, "slow": {"training.learning_rate": 1e-5}},
    )
    members = presets.expand(sweep)
    assert len(members) == 2 * 2 * 2 * 2
    assert len({runs.identity(configs.to_dict(member)) for member in members.values()}) == 16
    one = members["slow codebook_size=44 jitter=0.12 seed=2"]
    assert (one.model.codebook_size, one.model.jitter, one.seed) == (44, 0.12, 2)
    assert (one.training.learning_rate, one.training.steps) == (1e-5, 5)
    assert list(presets.expand(Sweep(preset="smoke"))) == ["smoke"]


GOOD = """
preset: smoke
seeds: [0, 1]
changes: {training.steps: 3}
grid:
  model.codebook_size: [10, 44]
experiments:
  baseline:
  jitter12: {model.jitter: 0.12}
"""


def test_a_sweep_file(tmp_path):
    path = tmp_path / "sweep.yml"
    path.write_text(GOOD)
    members = presets.expand(presets.read_sweep(path))
    assert list(members)[:3] == [
        "baseline codebook_size=10 seed=0", "baseline codebook_size=10 seed=1", "baseline codebook_size=44 seed=0",
    ]  # fmt: skip
    assert len(members) == 8
    assert {member.training.steps for member in members.values()} == {3}
    elsewhere = replace(presets.read_sweep(path), corpus="folder", corpus_root="/x")
    assert {member.corpus.name for member in presets.expand(elsewhere).values()} == {"folder"}


_EPOCH = 1_100  # steps in an epoch of TIMIT's windows, batches of 128
# flag of main_vae.py: what the source writes, the field here, what that means there (reference/timit_frames.md, 4.3)
FLAGS = {
    "--lr 1e-4": ("training.learning_rate", 1e-4),
    "--batch_size 128": ("training.batch_size", 128),
    "--clip 0.25": ("training.grad_clip", 0.25 / 128),  # of a loss that is summed there, and a mean here
    "--epochs 400": ("training.steps", 400 * _EPOCH),
    "--seed 1": ("seed", 0),  # given with every experiment, preset or not
    "--zdim 128": ("model.latent_dim", 128),
    "--Lambda 1": ("model.kl_weight", 1.0),
    "--gamma 1": ("model.reconstruction_weight", 1.0),
    "--logvar 0.1": ("model.posterior_std", 0.1),  # its name says variance, it is a deviation
    "--BCE": ("model.reconstruction", "squared_error"),  # or cross_entropy
    "--dropout 0": ("model.dropout", 0.0),
    "--leakyrelu 0.2": ("model.slope", 0.2),
    "--adam": ("training.optimizer", "adam"),  # store_false there: naming it turned Adam off
    "--beta1 0.99 --beta2 0.95": ("training.betas", (0.95, 0.999)),  # Hsu's, as .99 and .95 are the wrong way round
    "--eps 1e-8": ("training.eps", 1e-8),
    "--L2 1e-4": ("training.weight_decay", 1e-4 / 128),
    "--nfilter 40": ("pack.features", 40),
    "StepLR(100, 0.5)": ("training.learning_rates", tuple((100 * k * _EPOCH, 1e-4 / 2**k) for k in (1, 2, 3))),
    "save/best_model_ID.pt": ("training.best_by", "loss"),
}


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_of_the_source_is_a_field_with_a_positive_meaning(flag):
    """Mistake 13: store_false, integers for real weights, betas swapped."""
    field, expected = FLAGS[flag]
    experiment = presets.get("vae", "source")
    for name in field.split("."):
        experiment = getattr(experiment, name)
    if field == "pack.features":
        experiment = experiment[0].n_mels
    assert experiment == expected
    assert type(experiment) is type(expected)


def test_fields_mean_what_they_say():
    def made(**changes):
        return presets.get("vae", "source", changes=changes)

    parameters = torch.nn.Linear(2, 2)
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)):
        optimizer = training.make_optimizer(parameters, made(**{"training.optimizer": name}).training)
        assert type(optimizer) is kind
        (group,) = optimizer.param_groups
        assert group["weight_decay"] == 1e-4 / 128
        assert group["nesterov"] if name == "sgd" else (group["eps"], group["betas"]) == (1e-8, (0.95, 0.999))
    config = made().training
    rates = [training.learning_rate(config, epoch * _EPOCH) for epoch in (1, 99, 100, 200, 300, 399)]
    assert rates == [1e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5, 1.25e-5]
    assert made(**{"model.kl_weight": 0.5}).model.kl_weight == 0.5  # lambda and gamma were integers
