"""The YAML files of MelNet's source system: every shipped one is read, builds and trains a step."""

from dataclasses import replace

import pytest
import torch
import yaml

from speechlib import batches, configs, objectives, presets, runs, systems, training
from speechlib.__main__ import main
from speechlib.errors import BadFile
from speechlib.models.melnet import MelNet

# name inside the file, sample rate, reference level, layers, hidden, components, batch, accumulation, learning rate
SHIPPED = {
    "template_training": ("template_model", 16_000, 20, [12, 5, 4, 3, 2, 2], 512, 10, 1, None, 1e-3),
    "librispeech_v1": ("librispeech_v1", 16_000, 20, [5], 8, 10, 2, None, 1e-3),
    "librispeech_v2": ("librispeech_v2", 16_000, 40, [12, 5, 4, 3, 2, 2], 128, 8, 1, 8, 3e-6),
    "ljspeech_v1": ("ljspeech_v1", 22_050, 20, [12, 5, 4, 3, 2, 2], 200, 10, 1, 8, 1e-5),
    "ljspeech_v2": ("ljspeech_v2", 22_050, 30, [16, 6, 5, 4, 4], 200, 10, 1, 16, 3e-6),
    "ljspeech_v3": ("ljspeech_v3", 22_050, 30, [16, 6, 5, 4, 4], 200, 10, 1, 16, 6e-6),
    "ljspeech_v4": ("ljspeech_v3", 22_050, 30, [16, 7, 6, 5, 4, 4], 200, 16, 1, 16, 4e-6),
    "ljspeech_v5": ("ljspeech_v5", 22_050, 20, [16, 6, 6, 5, 4, 4], 200, 16, 1, 8, 2e-6),
    "podcast_v1": ("podcast_v1", 22_050, 20, [8], 128, 10, 1, None, 1e-6),
    "podcast_v2": ("podcast_v2", 22_050, 20, [12, 6, 5, 4], 8, 10, 1, None, 1e-3),
    "podcast_v3": ("podcast_v3", 22_050, 20, [12, 5, 4, 3, 2, 2], 200, 10, 1, 16, 3e-5),
    "dummymodel_librispeech": ("dummymodel_librispeech", 16_000, 20, [3], 8, 2, 1, None, 1e-3),
    "dummymodel_podcast": ("dummymodel_podcast", 22_050, 20, [2, 3, 4], 8, 2, 1, None, 1e-3),
}
DATA = {
    "ljspeech": "dataset: 'ljspeech'\n  path: 'datasets/ljspeech/'",
    "librispeech": 'dataset: \'librispeech\'\n  path: "datasets/librispeech/"\n  url: "dev-clean"',
    "podcast": "dataset: 'podcast'\n  path: 'datasets/Podcast/'\n  audio_folder: 'corpus'\n  text_file: 'metadata.csv'",
}


def text(file: str) -> str:
    """A configuration with every key of the source system's files."""
    name, rate, ref, layers, hidden, gmm, batch, accumulation, lr = SHIPPED[file]
    data = DATA[next((corpus for corpus in DATA if corpus in file), "librispeech")]
    iterations = f"  accumulation_steps: {accumulation}\n  evaluation_iterations: 1040\n" if accumulation else ""
    return f"""
name: '{name}'
audio:
  sample_rate: {rate}
  spectrogram_type: 'power'
  n_fft: 1536  # 6 * 256
  mel_channels: 256
  hop_length: 256
  win_length: 1536
  ref_level_db: {ref}
  min_level_db: -100
network:
  n_tiers: {len(layers)}
  layers: {layers}
  hidden_size: {hidden}
  gmm_size: {gmm}
data:
  {data}
training:
  optimizer: 'RMSProp'
  epochs: 2
  batch_size: {batch}
{iterations}  lr: {lr:.7f}
  momentum: 0.9
  num_workers: 1
  save_iterations: 1000
  dir_chkpt: 'models/chkpt/'
logging:
  dir_log_tensorboard: 'logs/tensorboard/'
  dir_log: 'logs/general/'
  log_iterations: 50
"""


@pytest.fixture
def folder(tmp_path):
    for file in SHIPPED:
        (tmp_path / f"{file}.yml").write_text(text(file))
    (tmp_path / "synthesis_ljspeech_v1.yml").write_text("name: x\ncheckpoints_path: [a, b]\noutput_path: c")
    return tmp_path


def test_every_shipped_configuration_is_read(folder):
    found = presets.read_melnet_yaml(folder)
    assert sorted(found) == sorted(SHIPPED)
    for file, (_, rate, ref, layers, hidden, gmm, batch, accumulation, lr) in SHIPPED.items():
        one = found[file]
        assert one.model.layers == tuple(n - 1 for n in layers)
        assert (one.model.hidden, one.model.n_mixtures) == (hidden, gmm)
        its = one.training
        assert (its.batch_size, its.accumulate, its.learning_rate) == (batch, accumulation or 1, lr)
        assert (its.optimizer, its.betas[0]) == ("rmsprop", 0.9)
        (bands,) = one.pack.features
        sizes = bands.sample_rate, bands.n_fft, bands.win_length, bands.hop_length, bands.n_mels
        assert sizes == (rate, 1536, 1536, 256, 256)
        assert bands.floor == pytest.approx(10 ** ((ref - 100) / 10))


def test_what_a_file_leaves_out_has_a_default(folder):
    """Mistake 8: the documented template lacks accumulation_steps and evaluation_iterations."""
    its = presets.read_melnet_yaml(folder / "template_training.yml")["template_training"].training
    assert (its.accumulate, its.validate_every, its.checkpoint_every, its.log_every) == (1, 1_040, 1_000, 50)
    assert its.steps == 2 * round(0.95 * 2_703)  # of LibriSpeech's dev-clean
    seen = presets.read_melnet_yaml(folder / "ljspeech_v2.yml")["ljspeech_v2"].training
    assert (seen.steps, seen.validate_every, seen.log_every) == (2 * 12_445 // 16, 65, 3)


def test_runs_of_one_name_do_not_meet(folder):
    """Mistake 8: v4 calls itself v3, and their runs overwrote each other."""
    found = presets.read_melnet_yaml(folder)
    assert found["ljspeech_v4"].preset == "dljspeech_t6_l16.7.6.5.4.4_hd200_gmm16"
    assert len({runs.identity(configs.to_dict(one)) for one in found.values()}) == len(found)


def test_they_are_our_presets_of_the_same_names(folder):
    """But for the bands: torchaudio's there, Slaney's here; and how often is logged."""
    rhythm = {"steps": 1, "log_every": 1, "validate_every": 1, "checkpoint_every": 1}
    for name in ("ljspeech_v1", "ljspeech_v2", "ljspeech_v3", "ljspeech_v4", "ljspeech_v5", "librispeech_v1"):
        own, read = presets.get("melnet", name), presets.read_melnet_yaml(folder / f"{name}.yml")[name]
        assert own.model == read.model
        assert replace(own.training, **rhythm) == replace(read.training, **rhythm)
        assert own.training.steps == read.training.steps or name.startswith("libri")


def test_where_the_corpora_are(folder):
    found = presets.read_melnet_yaml(folder)
    places = {file: (found[file].corpus.name, found[file].corpus.root) for file in found}
    assert places["ljspeech_v1"] == ("ljspeech", "datasets/ljspeech/")
    assert places["librispeech_v2"] == ("librispeech", "datasets/librispeech/LibriSpeech/dev-clean")
    assert places["podcast_v3"] == ("folder", "datasets/Podcast/")
    elsewhere = presets.read_melnet_yaml(folder / "podcast_v3.yml", "toy", "", 3, {"training.steps": 5})["podcast_v3"]
    assert (elsewhere.corpus.name, elsewhere.corpus.root, elsewhere.seed) == ("toy", "", 3)
    assert elsewhere.training.steps == 5
    assert elsewhere.preset == "dtoy_t6_l12.5.4.3.2.2_hd200_gmm10"


@pytest.mark.parametrize("file", SHIPPED)
def test_every_shipped_configuration_trains_a_step(folder, file):
    """At a reduced size: mistake 8 is that the template, and five others, could not."""
    experiment = presets.read_melnet_yaml(folder / f"{file}.yml", changes={"model.hidden": 4})[file]
    torch.manual_seed(0)
    model = MelNet(experiment.model, experiment.pack.features[0].n_mels).train()
    x, nobody = torch.randn(1, 256, 24), torch.zeros(1, dtype=torch.long)
    batch = batches.Batch(x, x, nobody, nobody, nobody, None, torch.tensor([24]))
    optimizer = training.make_optimizer(model, experiment.training)
    before = objectives.melnet(model, batch)["loss"]
    before.backward()
    optimizer.step()
    assert objectives.melnet(model, batch)["loss"] != before


def changed(file: str, section: str, **values) -> str:
    made = yaml.safe_load(text(file))
    (made[section] if section else made).update(values)
    return yaml.safe_dump(made)


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (changed("ljspeech_v1", "training", acumulation_steps=8), "Did you mean 'accumulation_steps'"),
        (changed("ljspeech_v1", "", sampling={}), "unknown field of Source 'sampling'"),
        (changed("ljspeech_v1", "network", n_tiers=5), r"n_tiers is 5, network\.layers has 6 numbers"),
        (changed("ljspeech_v1", "network", layers=[5, 1, 2, 2, 2, 2]), "2 or more each"),
        (changed("ljspeech_v1", "network", hidden_size="many"), "hidden_size needs int, got 'many'"),
        (changed("ljspeech_v1", "audio", spectrogram_type="linear"), "spectrogram_type is 'linear'"),
        (changed("ljspeech_v1", "data", dataset="ljspech"), "Did you mean 'ljspeech'"),
        (changed("librispeech_v2", "data", url="dev-clear"), "Did you mean 'dev-clean'"),
        (changed("ljspeech_v1", "training", optimizer="LBFGS"), "unknown training.optimizer 'LBFGS'"),
        ("name: x\naudio: {}", "missing"),
        ("name: x\ncheckpoints_path: []", "lists checkpoints to speak from"),
        ("- 1", "needs the keys name, audio"),
        ("a: [", "is not YAML"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, made, error):
    """The error names the file."""
    (tmp_path / "one.yml").write_text(made)
    with pytest.raises(BadFile, match=error) as caught:
        presets.read_melnet_yaml(tmp_path / "one.yml")
    assert str(caught.value).startswith(str(tmp_path / "one.yml"))


def test_no_files(tmp_path):
    with pytest.raises(BadFile, match="does not exist"):
        presets.read_melnet_yaml(tmp_path / "none.yml")
    with pytest.raises(BadFile, match=r"holds no \.yml file"):
        presets.read_melnet_yaml(tmp_path)


def test_a_folder_is_trained_by_one_command(voices, folder, monkeypatch, capsys):
    """Named by their architectures; a command of a release makes the same experiment again."""
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    monkeypatch.setenv("SPEECHLIB_OUTPUTS", str(folder / "outputs"))
    monkeypatch.setattr(systems.melnet, "_FRAMES", 60)  # the baseline need not be good here
    for file in SHIPPED:
        if not file.startswith("dummymodel"):
            (folder / f"{file}.yml").unlink()
    few = ["training.steps=1", "training.n_frames=16", "training.validate_batches=1", "model.hidden=2"]
    words = [word for change in few for word in ("--set", change)]
    train = ["train", "melnet", "--corpus", "folder", *words, "--from-yaml"]
    assert main([*train, str(folder)]) == 0
    found = {run.preset: run for run in runs.list_runs()}
    assert sorted(found) == ["dfolder_t1_l3_hd2_gmm2", "dfolder_t3_l2.3.4_hd2_gmm2"]
    assert {run.status for run in found.values()} == {"done"}
    experiment = presets.read_melnet_yaml(folder / "dummymodel_podcast.yml")["dummymodel_podcast"]
    assert presets.command(experiment).startswith("python -m speechlib train melnet --preset paper ")
    capsys.readouterr()
    assert main([*train, str(folder), "--tier", "1"]) == 2
    assert "holds 2: give one file" in capsys.readouterr().err
    assert main(["train", "vqvae", "--from-yaml", str(folder)]) == 2
    assert "not of 'vqvae'" in capsys.readouterr().err
