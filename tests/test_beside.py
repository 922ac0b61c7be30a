"""Several codecs are asked the same: by names, at one rate, and each in the way that it is told a voice."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from speechlib import presets, runs, systems, widgets
from speechlib.errors import BadFile, SpeechlibError, UnknownName
from speechlib.evaluation.conversion import Spoken
from speechlib.systems import beside, data, lifecycle

SMALL = {"n_layers": 2, "residual_channels": 4, "gate_channels": 4, "skip_channels": 4, "context_channels": 0}
DECODER = {f"model.decoder.{name}": value for name, value in SMALL.items()}


@pytest.fixture(scope="module")
def codecs(voices, tmp_path_factory) -> dict[str, systems.Trained]:
    """Untrained, of two voices: one at 16 kHz that knows numbers only, one at 8 kHz that reads voices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        found = {}
        for name, system, changes in (("vqvae", "vqvae", {}), ("in_wae", "wavenet_autoencoder", DECODER)):
            experiment = presets.get(system, "smoke", "folder", changes=changes)
            prepared = systems.prepare(experiment)
            model = systems.build(experiment, prepared).eval()
            found[name] = systems.Trained(model, experiment, prepared, None)
        nn.init.normal_(found["in_wae"].model.known_voices)
        return found


def test_all_are_asked_the_same_and_heard_at_one_rate(codecs):
    pack = codecs["in_wae"].data.pack
    (others,) = {one.data.pack.config.sample_rate for name, one in codecs.items() if name != "in_wae"}
    assert (pack.config.sample_rate, others) == (8_000, 16_000)
    asked = [(1, 0), (70, 1)]
    said = systems.convert_all(codecs, pack, asked, 0.5, seed=3)
    assert list(said) == ["vqvae", "in_wae"]
    for pieces in said.values():
        assert [piece[:2] for piece in pieces] == asked
        assert [len(piece.wave) for piece in pieces] == [4_000, 4_000]
        assert all(torch.isfinite(piece.wave).all() for piece in pieces)
    for piece, alone in zip(said["in_wae"], systems.convert(codecs["in_wae"], asked, 0.5, seed=3)):
        assert torch.equal(piece.wave, alone.wave)  # vqvae, which draws nothing, is not asked for a seed


def test_a_reference_is_read_by_those_that_read_voices(codecs):
    pack = codecs["in_wae"].data.pack
    by_number = systems.convert_all(codecs, pack, [(1, 0)], 0.25)
    by_reference = systems.convert_all(codecs, pack, [(1, 0)], 0.25, [60])
    (expected,) = systems.convert(codecs["in_wae"], [(1, 0)], 0.25, references=[60])
    assert torch.equal(by_reference["in_wae"][0].wave, expected.wave)
    assert not torch.equal(by_reference["in_wae"][0].wave, by_number["in_wae"][0].wave)
    assert torch.equal(by_reference["vqvae"][0].wave, by_number["vqvae"][0].wave)
    with pytest.raises(SpeechlibError, match="2 references for 1 conversions: wanted one for each, or none"):
        systems.convert_all(codecs, pack, [(1, 0)], 0.25, [60, 61])


class Named:
    """As much of a pack as is asked: utterances and speakers in an order of its own."""

    def __init__(self, utterances, speakers, rate, n_samples=100):
        self.utterances, self.speakers, self.name = utterances, speakers, "named"
        self.config, self.n_samples = SimpleNamespace(sample_rate=rate), [n_samples] * len(utterances)

    def __len__(self):
        return len(self.utterances)

    def index_of(self, name):
        return self.utterances.index(name)

    def speaker_index(self, name):
        if name not in self.speakers:
            raise UnknownName("speaker", name, self.speakers)
        return self.speakers.index(name)


def test_utterances_speakers_and_references_go_by_name(monkeypatch):
    """Each codec is asked in its own numbers; what comes back is counted to the pack of who asked."""
    pack = Named(["a", "b", "c"], ["ada", "bob"], 10, n_samples=12)
    trained = SimpleNamespace(data=SimpleNamespace(pack=Named(["c", "b", "x", "a"], ["bob", "eve", "ada"], 20)))
    heard = []

    def convert(_, pairs, seconds, **options):
        heard.append((pairs, seconds, options))
        return [Spoken(i, s, torch.zeros(40)) for i, s in pairs]

    monkeypatch.setattr(beside, "convert", convert)
    monkeypatch.setattr(beside, "voicing", lambda _: data.Voicing("", True, True))
    monkeypatch.setattr(beside, "takes_references", lambda _: True)
    said = beside.convert_all({"one": trained}, pack, [(0, 1), (2, 0), (1, -1)], 1.0, [1, 1, 2], seed=5)["one"]
    assert heard == [([(3, 0), (0, 2), (1, -1)], 1.0, {"seed": 5, "references": [1, 1, 0]})]
    assert [piece[:2] for piece in said] == [(0, 1), (2, 0), (1, -1)]
    assert {len(piece.wave) for piece in said} == {10}  # a second at the rate of who asked
    said = beside.convert_all({"one": trained}, pack, [(0, 1)], 9.0)["one"]
    assert len(said[0].wave) == 12  # no longer than its utterance
    with pytest.raises(UnknownName, match="speaker 'eva'"):
        beside.convert_all({"one": trained}, Named(["a"], ["eva"], 10), [(0, 0)])


def test_those_that_are_not_trained_or_know_other_speech_are_said_to_be_absent(codecs, voices, workspace, monkeypatch):
    monkeypatch.setenv("SPEECHLIB_DATA", str(voices))
    few = {
        "training.steps": 2,
        "training.validate_every": 2,
        "training.checkpoint_every": 2,
        "training.record_every": 2,
    }
    experiment = presets.get("vqvae", "smoke", "folder", changes=few)
    family = {"trained": experiment, "not": presets.get("vqvae", "smoke", "folder", seed=7)}
    pack = codecs["in_wae"].data.pack
    assert systems.with_voices(family, pack) == ({}, dict.fromkeys(family, "there is no finished run of it"))
    systems.train(experiment)
    found, absent = systems.with_voices(family, pack)
    assert (list(found), list(absent)) == (["trained"], ["not"])
    assert found["trained"].experiment == experiment
    other = Named([*pack.utterances, "elsewhere_001"], pack.speakers, 8_000)
    assert systems.with_voices({"trained": experiment}, other)[1]["trained"].startswith(
        f"1 of {len(pack) + 1} utterances are not in its corpus"
    )


def test_data_is_shared_by_those_that_prepare_the_same():
    """Not with a model of codes, whose pack holds those of its codec."""
    codec = systems.Trained(None, presets.get("vqvae_wavenet", "smoke"), "its data", None)
    assert lifecycle.data_of(presets.get("vqvae_wavenet", "smoke", seed=3), [codec]) == "its data"
    assert lifecycle.data_of(presets.get("prior", "smoke"), [codec]) is None
    assert lifecycle.data_of(presets.get("vqvae", "smoke"), [codec]) is None


def test_a_damaged_run_is_absent_with_its_reason(monkeypatch, tmp_path):
    def damaged(experiment):
        raise BadFile(tmp_path / "config.json", "is cut short")

    monkeypatch.setattr(runs, "finished", damaged)
    found, absent = systems.at_hand({"vqvae": presets.get("vqvae", "smoke")})
    assert not found
    assert "is cut short" in absent["vqvae"]


def test_the_explorer_asks_all_and_offers_references_of_the_voice(codecs):
    trained, pack = codecs["in_wae"], codecs["in_wae"].data.pack
    explorer = widgets.voice_explorer(trained, seconds=0.25, beside={"features": codecs["vqvae"]})
    assert explorer.still().count("<audio") == 3
    assert "features, voice anika" in explorer.views["sound"].value
    reference = explorer.controls["reference"]
    own = {i for _, i in reference.options if i is not None}
    assert own
    assert {pack.speakers[pack.speaker[i]] for i in own} == {"anika"}
    before = explorer.views["sound"].value
    reference.value = min(own)
    assert explorer.views["sound"].value != before
    explorer.controls["voice"].value = 0
    assert {pack.speakers[pack.speaker[i]] for _, i in reference.options if i is not None} == {"adam"}
    assert reference.value is None
    explorer.controls["voice"].value = -1  # one of them knows nobody
    assert "features" not in explorer.views["sound"].value
    assert "codes, voice nobody" in explorer.views["sound"].value
    assert explorer.views["note"].value == ""
    assert "reference" not in widgets.voice_explorer(codecs["vqvae"], seconds=0.25).controls
