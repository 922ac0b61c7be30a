"""python -m speechlib generate melnet: clips as pictures, features and sounds; what it refuses, in one line each."""

import numpy as np
import pytest
import torch
from PIL import Image

from speechlib import audio, presets, runs, systems
from speechlib.__main__ import main
from speechlib.features import extract

FEW = {"training.steps": 3, "training.precision": "fp32", "training.batch_size": 2, "training.validate_batches": 1}
FEW |= {"training.checkpoint_every": 3, "model.hidden": 8, "model.n_mixtures": 2, "training.validate_every": 3}


@pytest.fixture(scope="module")
def trained(voices, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        yield systems.load(systems.train(presets.get("melnet", "smoke", "folder", changes=FEW)))


@pytest.fixture
def generate(trained, tmp_path, capsys):
    """generate(*arguments) -> {name: path} of the files that are said to have been written."""

    def run(*arguments: str, folder: str = "out") -> dict:
        code = main(["generate", "melnet", "--out", str(tmp_path / folder), *arguments])
        told = capsys.readouterr()
        assert code == 0, told.err
        assert told.out.splitlines()[0] == f"melnet: {trained.run.name}"
        names = [line.rpartition("/")[2] for line in told.out.splitlines()[1:]]
        assert sorted(names) == sorted(path.name for path in (tmp_path / folder).iterdir())
        return {name: tmp_path / folder / name for name in names}

    return run


def features(path) -> torch.Tensor:
    return runs.load_tensors(path)[0]["features"]


def test_clips_are_pictures_features_and_sounds(generate, trained):
    first, *_ = trained.data.pack.speakers
    made = generate(
        "--frames", "21", "--clips", "3", "--speakers", first, "none", "--seed", "5", "--temperature", "0.7"
    )
    stems = [f"{first}_5_1", "nobody_5_2", f"{first}_5_3"]
    assert list(made) == [f"{stem}{suffix}" for stem in stems for suffix in (".png", ".safetensors", ".wav")]
    config = trained.data.pack.config_of("log_mel")
    grids = [features(made[f"{stem}.safetensors"]) for stem in stems]
    assert {grid.shape for grid in grids} == {(config.n_mels, 21)}
    assert not torch.equal(grids[0], grids[2])
    again = generate("--frames", "21", "--speaker", first, "--seed", "5", "--temperature", "0.7", folder="again")
    torch.testing.assert_close(features(again[f"{first}_5_1.safetensors"]), grids[0], rtol=0, atol=1e-3)
    for stem in stems:
        wave, rate = audio.read(made[f"{stem}.wav"])
        assert rate == config.sample_rate
        assert abs(len(wave) - 21 * config.hop_length) < config.n_fft
        assert np.abs(wave).max() > 0.01
        with Image.open(made[f"{stem}.png"]) as picture:
            assert picture.width > 2 * picture.height
            assert np.asarray(picture.convert("L")).std() > 20


def test_seconds_and_greedy(generate, trained):
    rate = trained.data.pack.config_of("log_mel").frame_rate
    (one,) = (features(path) for name, path in generate("--seconds", "0.3").items() if name.endswith("tensors"))
    assert one.shape[1] == round(0.3 * rate)
    sure = [generate("--frames", "9", "--mode", "greedy", "--seed", seed, folder=seed) for seed in "12"]
    one, two = (features(next(path for path in made.values() if path.suffix == ".safetensors")) for made in sure)
    torch.testing.assert_close(one, two)


def test_a_clip_begins_with_a_file(generate, trained, tmp_path):
    wave = 0.3 * np.sin(np.arange(3200) * 0.05)
    audio.write(tmp_path / "begin.wav", wave, 16_000)
    made = generate("--frames", "40", "--prime", str(tmp_path / "begin.wav"))
    grid = features(made["nobody_0_1.safetensors"])
    config = trained.data.pack.config_of("log_mel")
    heard, _ = audio.read(tmp_path / "begin.wav", config.sample_rate)
    pack = trained.data.pack.config
    heard = audio.peak_normalise(heard) if pack.peak_normalise else heard
    expected = extract(torch.from_numpy(heard), config)
    assert 5 < expected.shape[1] < 40
    torch.testing.assert_close(grid[:, : expected.shape[1]], expected, rtol=0, atol=1e-4)


def test_real_tiers_are_kept(generate, trained):
    pack, n_tiers = trained.data.pack, trained.model.config.n_tiers
    name = pack.utterances[1]
    made = generate("--frames", "30", "--real-tiers", str(n_tiers), "--utterance", name)
    whole = pack.features(1, "log_mel")[:, :30]
    torch.testing.assert_close(features(made["nobody_0_1.safetensors"]), whole, rtol=0, atol=1e-4)
    made = generate("--frames", "30", "--real-tiers", "1", "--clips", "2", folder="outline")
    one, two = (features(path) for path in made.values() if path.suffix == ".safetensors")
    first = pack.features(trained.data.split["val"][0], "log_mel")
    step = 2 ** (n_tiers // 2)
    torch.testing.assert_close(one[::step, ::step][:1], first[:1, :30:step], rtol=0, atol=1e-4)
    assert not torch.equal(one, two)


def test_what_cannot_be_drawn_is_told_in_one_line(trained, tmp_path, capsys):
    long, out = tmp_path / "long.wav", tmp_path / "out"
    audio.write(long, 0.1 * np.sin(np.arange(32_000) * 0.05), 16_000)
    (tmp_path / "none.wav").write_bytes(b"not a sound")

    def complaint(*call: str) -> str:
        assert main(["generate", "melnet", *call, "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("speechlib: ")
        assert error.count("\n") == 1
        return error

    assert "3 tiers cannot share 32 bins x 1 frames: no frames are left for tier 3" in complaint("--frames", "1")
    assert "32 bins x 0 frames" in complaint("--seconds", "0.001")
    assert "32 bins x -5 frames has no values" in complaint("--frames", "-5", "--real-tiers", "1")
    assert "give one of them" in complaint("--frames", "9", "--seconds", "1")
    assert "0 clips: 1 or more" in complaint("--clips", "0")
    assert "temperature -1" in complaint("--temperature", "-1")
    assert "seed -1" in complaint("--seed", "-1")
    assert "no --top-p: lower its --temperature" in complaint("--top-p", "0.9")
    assert "n_real 9 must lie in 1.." in complaint("--real-tiers", "9")
    assert "not both" in complaint("--real-tiers", "1", "--prime", str(long))
    assert "unknown utterance 'x'" in complaint("--real-tiers", "1", "--utterance", "x")
    assert "say how many tiers" in complaint("--utterance", "x")
    assert "unknown speaker 'nobody'" in complaint("--speaker", "nobody")
    assert "cut the prime, or ask for a longer clip" in complaint("--frames", "20", "--prime", str(long))
    assert "is it audio, and whole?" in complaint("--prime", str(tmp_path / "none.wav"))
    assert "does not exist" in complaint("--prime", str(tmp_path / "nowhere.wav"))
    assert "give it as --prime" in complaint(str(long), "--clips", "2")
    assert "give it as --prime" in complaint(str(long))
    assert main(["generate", "wavenet"]) == 2
    assert "a wavenet says a recording: give an audio FILE" in capsys.readouterr().err
    assert main(["generate", "melnett"]) == 2
    assert "unknown run or checkpoint 'melnett'" in capsys.readouterr().err
    assert not out.exists()


def test_a_run_that_diverged_is_told(trained, tmp_path, capsys):
    path = next(p for p in (trained.run.path / "best.safetensors", trained.run.checkpoint) if p.exists())
    weights, metadata = runs.load_tensors(path)
    spoiled = weights | {"tiers.0.head.bias": torch.full_like(weights["tiers.0.head.bias"], torch.nan)}
    try:
        runs.save_tensors(path, spoiled, metadata)
        assert main(["generate", trained.run.name, "--frames", "9", "--out", str(tmp_path / "out")]) == 2
        assert "weights of tiers.0.head.bias that are not finite" in capsys.readouterr().err
    finally:
        runs.save_tensors(path, weights, metadata)
