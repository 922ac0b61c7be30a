"""Players decode back to what was put in; explorers react to their values; nothing needs a trusted notebook."""

import ast
import base64
import io
import itertools
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from speechlib import features, packs, presets, systems, widgets
from speechlib.corpora import Corpus
from speechlib.corpora.labels import Interval
from speechlib.errors import SpeechlibError, UnknownName
from speechlib.evaluation.tokens import token_table
from speechlib.models.vqvae import VQVAE, VQVAEConfig
from speechlib.widgets import codebook, explorers

RATE = 16000


def sounds(html) -> list[np.ndarray]:
    """The samples inside every player of a piece of HTML."""
    found = re.findall(
        r'<audio controls[^>]* src="data:audio/(?:flac|wav);base64,([^"]+)"></audio>', getattr(html, "data", html)
    )
    return [soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")[0] for data in found]


def rms(wave) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


def noise(seed: int, level: float, n: int = 4000) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(0, level, n), -0.99, 0.99).astype(np.float32)


@pytest.mark.parametrize(("n_samples", "format"), [(4096, "wav"), (4097, "flac")])
def test_player_holds_the_samples_exactly(n_samples, format):
    """Chromium plays nothing of a FLAC that is a single block: the shortest sounds are WAV."""
    whole = np.random.default_rng(0).integers(-32768, 32767, n_samples, dtype=np.int16)
    assert f"data:audio/{format};base64," in widgets.player(whole, RATE).data
    for given in (whole, whole / np.float32(32768), torch.tensor(whole / np.float32(32768))[None], torch.tensor(whole)):
        (heard,) = sounds(widgets.player(given, RATE))
        np.testing.assert_array_equal(np.round(heard * 32768).astype(int), whole)


def test_player_escapes_titles_and_keeps_silence():
    html = widgets.player(np.zeros(100, np.float32), RATE, '<script>"x"&')
    assert "<script>" not in html.data
    assert html.data.count("&lt;script&gt;&quot;x&quot;&amp;") == 2
    np.testing.assert_array_equal(sounds(html)[0], 0)


def test_player_says_what_it_changed():
    loud = widgets.player(np.array([0.0, 2.0, -1.0]), RATE)
    np.testing.assert_allclose(sounds(loud)[0], [0, 1, -0.5], atol=1e-4)
    assert "turned down 6.0 dB" in loud.data
    long = widgets.player(np.zeros(RATE * 60, np.float32), RATE)
    assert "first 20 s of 60.0 s" in long.data
    assert sounds(long)[0].size == 20 * RATE


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (np.zeros((2, 10), np.float32), RATE, r"\(2, 10\)"),
        (np.zeros(0, np.float32), RATE, "S > 0"),
        (np.array([0.0, np.nan, np.inf]), RATE, "2 NaN or infinite samples of 3"),
        (np.zeros(10, np.int64), RATE, "int64"),
        (np.zeros(10, np.float32), 0, "sample_rate 0"),
        (np.zeros(10, np.float32), 16e3, "sample_rate 16000.0"),
    ],
)
def test_player_refuses(wave, rate, message):
    with pytest.raises(SpeechlibError, match=message):
        widgets.player(wave, rate)


def test_players_match_loudness_and_say_the_gain():
    html = widgets.players({"loud": noise(0, 0.3), "quiet": noise(1, 0.003), "none": np.zeros(50, np.float32)}, RATE)
    loud, quiet, none = sounds(html)
    assert rms(loud) == pytest.approx(rms(quiet), rel=1e-3)
    assert max(np.abs(loud).max(), np.abs(quiet).max()) <= 1
    assert not none.any()
    gains = [float(gain) for gain in re.findall(r"([+-]\d+\.\d) dB", html.data)]
    assert gains[1] - gains[0] == pytest.approx(20 * np.log10(rms(noise(0, 0.3)) / rms(noise(1, 0.003))), abs=0.11)
    assert "silent" in html.data


def test_players_without_matching_keep_levels_and_captions_belong_to_clips():
    html = widgets.players({"a": noise(0, 0.3), "<b>": noise(1, 0.003)}, RATE, False, {"<b>": "said <twice>"})
    for heard, given in zip(sounds(html), (noise(0, 0.3), noise(1, 0.003))):
        np.testing.assert_allclose(heard, given, atol=1 / 32768)
    assert "said &lt;twice&gt;" in html.data
    assert "&lt;b&gt;" in html.data
    with pytest.raises(SpeechlibError, match="captions without a clip: c; clips are a"):
        widgets.players({"a": noise(0, 0.1)}, RATE, captions={"c": "?"})
    with pytest.raises(SpeechlibError, match="no clips"):
        widgets.players({}, RATE)


def test_key_numbers_are_a_table_and_data():
    shown = widgets.key_numbers({"NMI": 0.43219, "codes used": np.int64(61), "time (s)": 1234.5, "x <y>": float("nan")})
    bundle = shown._repr_mimebundle_()
    numbers = json.loads(json.dumps(bundle["application/vnd.speechlib.numbers+json"], allow_nan=False))
    assert numbers == {"NMI": 0.432, "codes used": 61, "time (s)": 1230.0, "x <y>": None}
    assert "0.432" in bundle["text/html"]
    assert "x &lt;y&gt;" in bundle["text/html"]
    assert bundle["text/plain"].splitlines() == [
        "NMI: 0.432",
        "codes used: 61",
        "time (s): 1,230",
        "x <y>: undefined",
    ]
    with pytest.raises(SpeechlibError, match="'a' is \\[1\\]"):
        widgets.key_numbers({"a": [1]})


# A world with known answers: code k is a tone of TONES[k] Hz, 20 ms a step, said by two voices.

TONES = (500, 1000, 2000, 4000)
STEP = 0.02
SAID = {
    "a1": [0, 0, 1, 1, 1, 2, 2, 0, 0, 0],
    "a2": [3, 3, 3, 1, 1, 0, 0, 2, 2, 2],
    "b1": [2, 2, 0, 0, 0, 1, 1, 3, 3, 3],
}
PHONES = ("AA", "B", "<C>", "D")


def tones(codes) -> np.ndarray:
    t = np.arange(round(STEP * RATE)) / RATE
    return np.concatenate([0.5 * np.sin(2 * np.pi * TONES[k] * t) for k in codes]).astype(np.float32)


def pitch(wave) -> float:
    """The strongest frequency, in Hz."""
    return float(np.abs(np.fft.rfft(wave, RATE)).argmax() * 1.0)


class TonePack:
    """As much of a pack as explorers read."""

    utterances, speakers, genders, speaker = list(SAID), ["a", "b"], ["F", None], np.array([0, 0, 1])
    text = ["<i>one</i> two", None, "three"]
    config = SimpleNamespace(sample_rate=RATE)

    def __init__(self, labelled=True):
        self.labelled = labelled

    def index_of(self, name):
        return self.utterances.index(name)

    def wave(self, i):
        return torch.tensor(tones(SAID[self.utterances[i]]))

    def config_of(self, kind):
        return features.LOG_MEL

    def phones(self, i):
        codes = SAID[self.utterances[i]] if self.labelled else []
        return [Interval(PHONES[k], j * STEP, (j + 1) * STEP) for j, k in enumerate(codes)]


def tone_tokens(pack, only=("a1", "a2", "b1")):
    codes = {i: np.array(SAID[name]) for i, name in enumerate(SAID) if name in only}
    return token_table(pack, codes, {i: (np.arange(len(row)) + 0.5) * STEP for i, row in codes.items()})


def tone_trained(pack, speaker_dim=4):
    torch.manual_seed(0)
    config = VQVAEConfig(channels=8, code_dim=4, codebook_size=5, speaker_dim=speaker_dim)
    model = VQVAE(config, n_features=80, n_targets=80, n_speakers=2).eval()
    experiment = SimpleNamespace(system="vqvae", model=config, inputs="log_mel", targets="log_mel")
    return SimpleNamespace(model=model, experiment=experiment, data=SimpleNamespace(pack=pack))


def pictures(html) -> list[np.ndarray]:
    found = re.findall(r'<img [^>]*src="data:image/webp;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_alignment_explorer_plays_and_lists_the_selection():
    pack = TonePack()
    explorer = widgets.alignment_explorer(pack, tone_tokens(pack))
    explorer.controls["selection"].value = (0.04, 0.1)
    (heard,) = sounds(explorer.views["sound"].value)
    np.testing.assert_allclose(heard, tones([1, 1, 1]), atol=1 / 32000)
    assert explorer.views["about"].value == "<div><b>phones</b>: B B B</div><div><b>codes</b>: 1</div>"
    whole, before = explorer.views["whole"].value, explorer.views["selected"].value
    explorer.controls["selection"].value = (0.0, 0.06)
    assert explorer.views["whole"].value == whole
    assert explorer.views["selected"].value != before
    explorer.controls["utterance"].value = "b1"
    assert explorer.views["whole"].value != whole
    explorer.controls["selection"].value = (0.14, 0.2)
    assert pitch(sounds(explorer.views["sound"].value)[0]) == pytest.approx(4000, abs=20)


def test_alignment_explorer_follows_the_length_of_the_utterance(monkeypatch):
    pack = TonePack()
    monkeypatch.setitem(SAID, "a1", [0] * 200)
    explorer = widgets.alignment_explorer(pack, tone_tokens(pack))
    selection = explorer.controls["selection"]
    assert selection.max == pytest.approx(4.0)
    selection.value = (3.0, 3.5)
    explorer.controls["utterance"].value = "a2"
    assert selection.max == pytest.approx(0.2)
    assert 0 <= selection.value[0] < selection.value[1] <= 0.2
    assert sounds(explorer.views["sound"].value)[0].size > 0
    selection.value = (0.1, 0.11)
    assert "10 ms is shorter than one code (20 ms)" in explorer.views["note"].value
    selection.value = (0.1, 0.2)
    assert explorer.views["note"].value == ""


def test_codebook_explorer_finds_the_instances_of_a_code():
    pack = TonePack()
    points = np.random.default_rng(0).normal(size=(5, 2))
    explorer = widgets.codebook_explorer(tone_trained(pack), tone_tokens(pack), points)
    listed = explorer.controls["code"].options
    assert [k for _, k in listed] == [0, 1, 2, 3]  # by frequency; code 4 is never used
    assert listed[0][0] == "0, AA 100 % (33 % of the time)"
    for k, take in itertools.product(range(4), (1, 2)):
        explorer.buttons[k].click()
        explorer.controls["take"].value = take
        assert explorer.controls["code"].value == k
        assert [j for j, button in explorer.buttons.items() if "red" in button.layout.border_top] == [k]
        shown = explorer.views["instances"].value
        assert len(pictures(shown)) == 2
        heard = sounds(shown)  # per voice: the context, and the code alone
        assert len(heard) == 4
        said = re.findall(r"(a1|a2|b1)<br>(\d\.\d\d) s, one of (\d)", shown)
        for context, (name, start, n) in zip(heard[::2], said):
            assert int(n) == sum(
                part.count(k) > 0 for voice in SAID if voice[0] == name[0] for part in runs(SAID[voice])
            )
            inside = round(min(float(start), 0.15) * RATE)
            assert pitch(context[inside : inside + round(STEP * RATE)]) == pytest.approx(TONES[k], abs=60)


def test_codebook_map_puts_every_code_in_a_cell_of_its_own():
    points = np.repeat(np.random.default_rng(0).normal(size=(50, 2)), 4, axis=0)  # four codes on each spot
    cells = codebook._cells(points)
    assert len(set(cells)) == 200
    assert all(0 <= column < codebook.GRID[0] and 0 <= row < codebook.GRID[1] for column, row in cells)
    corners = codebook._cells(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    assert corners[0][0] < corners[1][0]
    assert corners[0][1] > corners[2][1]  # up on the map is up


def test_codebook_explorer_without_phones_and_with_one_voice():
    pack = TonePack(labelled=False)
    explorer = widgets.codebook_explorer(tone_trained(pack, speaker_dim=0), tone_tokens(pack, ["b1"]), np.zeros((5, 2)))
    assert explorer.controls["code"].options[0][0].startswith("0 (3")
    assert len(sounds(explorer.views["instances"].value)) == 2
    alignment = widgets.alignment_explorer(pack, tone_tokens(pack, ["b1"]))
    assert alignment.views["about"].value.startswith("<div><b>codes</b>: ")
    assert "phones" not in alignment.views["about"].value


def test_explorers_refuse_what_does_not_fit():
    pack = TonePack()
    tokens = tone_tokens(pack)
    with pytest.raises(SpeechlibError, match=r"\(4, 2\), a codebook of 5"):
        widgets.codebook_explorer(tone_trained(pack), tokens, np.zeros((4, 2)))
    for empty in (
        lambda: widgets.codebook_explorer(tone_trained(pack), tokens[:0], np.zeros((5, 2))),
        lambda: widgets.alignment_explorer(pack, tokens[:0]),
        lambda: widgets.corpus_browser(Corpus("nothing", (), ())),
    ):
        with pytest.raises(SpeechlibError):
            empty()


def runs(codes):
    return [list(group) for _, group in itertools.groupby(codes)]


def test_instances_are_the_stretches_of_a_code():
    tokens = tone_tokens(TonePack())
    found = explorers.instances(tokens, STEP)
    wanted = []
    for name, codes in SAID.items():
        start = 0
        for part in runs(codes):
            wanted.append(
                (name, name[0], part[0], PHONES[part[0]], round(start * STEP, 6), round((start + len(part)) * STEP, 6))
            )
            start += len(part)
    assert [tuple(row) for row in found.round(6).itertuples(index=False)] == wanted


@pytest.fixture
def small_corpus(tmp_path):
    """Three utterances of two speakers: one labelled, one in stereo at 48 kHz, one that is no audio any more."""
    from lhotse import CutSet, Recording, SupervisionSegment
    from lhotse.supervision import AlignmentItem

    cuts = []
    for name, speaker, rate, wave in (
        ("a1", "a", 16000, tones([0] * 9)),
        ("b ü", "b", 48000, np.zeros((4800, 2))),
        ("b2", "b", 8000, tones([1])),
    ):
        soundfile.write(tmp_path / f"{name}.wav", wave, rate)
        cut = Recording.from_file(tmp_path / f"{name}.wav", recording_id=name).to_cut()
        cut.id = name
        alignment = {"phone": [AlignmentItem("<AA>", 0.0, 0.1)]} if name == "a1" else None
        text = "Hello <you>" if name == "a1" else None
        cut.supervisions = [
            SupervisionSegment(name, name, 0.0, cut.duration, speaker=speaker, text=text, alignment=alignment)
        ]
        cuts.append(cut)
    (tmp_path / "b2.wav").write_bytes(b"no audio")
    return Corpus("small", CutSet.from_cuts(cuts), ())


def test_corpus_browser(small_corpus):
    browser = widgets.corpus_browser(small_corpus)
    np.testing.assert_allclose(sounds(browser.views["sound"].value)[0], tones([0] * 9), atol=1 / 32000)
    assert "Hello &lt;you&gt;" in browser.views["about"].value
    assert "3 utterances" in browser.views["note"].value
    browser.controls["speaker"].value = "b"
    assert browser.controls["utterance"].value == "b ü"
    assert "48,000 Hz" in browser.views["about"].value
    browser.controls["utterance"].value = "b2"
    assert "b2.wav" in browser.views["note"].value
    assert browser.views["sound"].value == ""
    browser.controls["speaker"].value = ""
    browser.controls["find"].value = "hELLO"
    assert [name for _, name in browser.controls["utterance"].options] == ["a1"]
    browser.controls["find"].value = "<zzz>"
    assert "&lt;zzz&gt;" in browser.views["note"].value
    browser.controls["find"].value = ""
    assert "3 utterances" in browser.views["note"].value


def test_browser_lists_no_more_than_a_browser_bears(small_corpus, monkeypatch):
    monkeypatch.setattr(explorers, "MAX_CHOICES", 2)
    browser = widgets.corpus_browser(small_corpus)
    assert len(browser.controls["utterance"].options) == 2
    assert "the first 2 of 3" in browser.views["note"].value


def test_explorers_show_a_still_where_no_kernel_answers(small_corpus):
    browser = widgets.corpus_browser(small_corpus)
    bundle = browser._repr_mimebundle_()
    assert bundle["text/plain"] == "Corpus browser: small"
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert len(pictures(bundle["text/html"])) == len(sounds(bundle["text/html"])) == 1
    assert plt.get_fignums() == []


def test_code_players_let_every_voice_say_a_code():
    pack = TonePack()
    shown = widgets.code_players(pack, tone_tokens(pack, ["a1", "b1"]), n_codes=4, n_voices=5)
    rows = shown.data.split("<tr>")[1:]
    assert re.findall("<th>(.*?)</th>", rows[0]) == ["code", "a (F)", "b"]
    said = {int(re.search(r"<b>(\d)</b>", row)[1]): row for row in rows[1:]}
    assert set(said) == {0, 1, 2, 3}
    assert "AA 100 %<br>40 % of the time" in said[0]
    assert said[3].count("never") == 1  # a1 has no code 3
    for k, row in said.items():
        for heard in sounds(row):
            levels = np.abs(np.fft.rfft(heard, RATE))
            assert levels[TONES[k] - 20 : TONES[k] + 20].max() > 0.2 * levels.max()
    (once,) = (heard for heard in sounds(said[3]))
    assert once.size == round((0.14 + 0.06 + 0.2) * RATE)  # all before it, itself (it is the last), the pause


def test_code_players_leave_silence_out(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PHONES", ("sil", "B", "C", "D"))
    shown = widgets.code_players(TonePack(), tone_tokens(TonePack()))
    assert [int(k) for k in re.findall(r"<b>(\d)</b>", shown.data)] == [1, 2, 3]
    unlabelled = TonePack(labelled=False)
    assert len(re.findall(r"<b>(\d)</b>", widgets.code_players(unlabelled, tone_tokens(unlabelled)).data)) == 4


@pytest.fixture
def trained(tmp_path):
    """Two voices, each one tone, through real features, a real pack and an untrained model."""
    from lhotse import CutSet, Recording, SupervisionSegment

    cuts = []
    for name, speaker, k in (("a1", "a", 0), ("b1", "b", 1)):
        soundfile.write(tmp_path / f"{name}.wav", tones([k] * 25), RATE)
        cut = Recording.from_file(tmp_path / f"{name}.wav", recording_id=name).to_cut()
        cut.id = name
        cut.supervisions = [SupervisionSegment(name, name, 0.0, cut.duration, speaker=speaker)]
        cuts.append(cut)
    corpus = Corpus("tones", CutSet.from_cuts(cuts), ())
    experiment = presets.get("vqvae", "smoke")
    data = systems.Data(corpus, packs.build(corpus, experiment.pack, root=tmp_path), {"train": [0, 1], "val": [0, 1]})
    return systems.Trained(systems.build(experiment, data).eval(), experiment, data, None)


def test_reconstruction_explorer(trained):
    explorer = widgets.reconstruction_explorer(trained)
    labels = re.findall("<b>(.*?)</b>", explorer.views["sound"].value)
    assert labels == ["original", "features and back", "reconstruction", "codes, voice b"]
    before = sounds(explorer.views["sound"].value)
    levels = [rms(wave) for wave in before]
    assert max(levels) == pytest.approx(min(levels), rel=0.01)
    assert pitch(before[0]) == pytest.approx(500, abs=5)
    assert pitch(before[1]) == pytest.approx(500, abs=30)
    explorer.controls["utterance"].index = 1
    assert pitch(sounds(explorer.views["sound"].value)[0]) == pytest.approx(1000, abs=5)
    explorer.controls["utterance"].index = 0
    explorer.controls["voice"].value = 0  # its own: the codes say what the reconstruction says
    _, _, own, codes = sounds(explorer.views["sound"].value)
    np.testing.assert_array_equal(own, codes)
    assert not np.array_equal(before[2], before[3])


def test_reconstruction_explorer_of_a_long_utterance_without_voices(trained, monkeypatch):
    monkeypatch.setattr(explorers, "INVERTED", 0.2)
    trained.model.speakers = None
    monkeypatch.setattr(
        systems, "reconstruct", lambda trained, i, speaker=None: trained.data.pack.features(i, "log_mel")
    )
    explorer = widgets.reconstruction_explorer(trained)
    heard = sounds(explorer.views["sound"].value)
    assert len(heard) == 3
    assert {wave.size for wave in heard} == {heard[0].size}
    assert heard[0].size == pytest.approx(0.2 * RATE, abs=320)
    assert "reconstruction error / variance: 0; the first 0.2 s of 0.5 s" in explorer.views["about"].value
    with pytest.raises(UnknownName, match="test"):
        widgets.reconstruction_explorer(trained, "test")


def test_explorers_use_neither_interact_nor_output_nor_pyplot():
    for path in Path(widgets.__file__).parent.glob("*.py"):
        code = ast.parse(path.read_text())
        names = {node.id for node in ast.walk(code) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(code) if isinstance(node, ast.Attribute)}
        names |= {
            a.name for node in ast.walk(code) if isinstance(node, (ast.Import, ast.ImportFrom)) for a in node.names
        }
        assert not names & {"interact", "interactive", "interactive_output", "Output", "pyplot", "Audio"}, path
