"""ABX of trained systems: which vectors at which times, beside which others."""

import numpy as np
import pandas as pd
import pytest

from speechlib import presets, systems
from speechlib.errors import SpeechlibError
from speechlib.evaluation import vectors
from speechlib.evaluation.abx import NoTriples
from speechlib.evaluation.abx_averages import TooFew
from speechlib.features import frame_times
from speechlib.systems import abx


@pytest.fixture(scope="module")
def trained(voices, tmp_path_factory):
    """A finished run of the smoke preset on two voices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHLIB_DATA", str(voices))
        patch.setenv("SPEECHLIB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        return systems.load(systems.train(presets.get("vqvae", "smoke", "folder")))


def test_stages_are_the_vectors_of_the_model_at_their_times(trained):
    stages, pack, part = abx.stages(trained), trained.data.pack, trained.data.split["val"]
    assert list(stages) == ["mfcc", "z_e", "z_q"]
    rows = vectors.gather(trained.model, pack, part, "mfcc")
    for name in ("z_e", "z_q"):
        found = np.concatenate([stages[name].rows[pack.utterances[i]] for i in part])
        np.testing.assert_allclose(found, getattr(rows, name), atol=1e-5)
    config, first = pack.config_of("mfcc"), part[0]
    assert np.array_equal(stages["mfcc"].rows[pack.utterances[first]], pack.features(first, "mfcc").T.numpy())
    times = systems.encode(trained, [first])[1][first]
    assert stages["z_e"].first + np.arange(len(times)) / stages["z_e"].rate == pytest.approx(times)
    assert stages["mfcc"].first + np.arange(3) / stages["mfcc"].rate == pytest.approx(frame_times(3, config))


def test_codes_of_a_table_are_a_stage(trained):
    tokens = systems.tokens(trained)
    stage, codes = abx.stage_of(trained, tokens), systems.encode(trained, trained.data.split["val"])[0]
    assert stage[1:3] == abx.stages(trained)["z_e"][1:3]  # exactly: or an item at a row's edge has other rows
    for i, of_one in codes.items():
        assert np.array_equal(stage.rows[trained.data.pack.utterances[i]], of_one)


def dealt(trained, n_voices: int):
    """The same with utterances dealt out to more speakers than there are."""
    pack = trained.data.pack
    pack = pack.voiced([f"{pack.speakers[s]} {k % n_voices}" for k, s in enumerate(pack.speaker)])
    return trained._replace(data=trained.data._replace(pack=pack))


def test_a_system_is_compared_with_what_it_was_given(trained):
    trained = dealt(trained, 3)
    tokens = systems.tokens(trained)
    chance = tokens.assign(code=np.random.default_rng(0).integers(44, size=len(tokens)))
    more = {"codes": abx.stage_of(trained, tokens), "chance": abx.stage_of(trained, chance)}
    compared = abx.compare(trained, more=more, context="any", max_size_group=6)
    table = compared.table
    assert list(table.index) == ["mfcc", "z_e", "z_q", "codes", "chance"]
    assert table.loc["chance", "across"] == pytest.approx(50, abs=3)
    assert table.loc["mfcc", "across"] < 40
    assert (table["low"] < table["across"]).all()
    assert (table["across"] < table["high"]).all()
    assert np.isnan(table.loc["mfcc", "above"])
    assert table.loc["codes", "above"] == pytest.approx(table.loc["codes", "across"] - table.loc["mfcc", "across"])
    assert table.loc["chance", "above_low"] > 0
    assert (compared.counts.iloc[2:] == compared.counts.iloc[1]).all().all()
    assert abx.voices(compared).loc["adam 0", "mfcc"] > 0
    keys = ["phone", "other", "speaker", "speaker_x", "triples"]
    across = [cells["across"][keys] for cells in compared.cells.values()]
    for other in across[1:]:
        pd.testing.assert_frame_equal(other, across[0])  # every stage on the same triples


def test_of_a_few_speakers_no_interval_is_told(trained):
    """Two voices are one pair: whatever weight it has, its error is the same."""
    compared = abx.compare(trained, context="any", max_size_group=6)
    assert list(compared.table) == ["rows per second", "within", "across", "above"]


def test_where_the_bootstrap_has_too_few_the_rest_is_told(trained, monkeypatch):
    def refuse(*_):
        raise TooFew("of six speakers two have triples")

    monkeypatch.setattr(abx, "interval", refuse)
    compared = abx.compare(dealt(trained, 3), context="any", max_size_group=2)
    assert list(compared.table) == ["rows per second", "within", "across", "above"]


def test_one_speaker_is_compared_with_themselves_and_has_no_interval(trained):
    some = [i for i in trained.data.split["val"] if trained.data.pack.speaker[i] == 0]
    alone = trained._replace(data=trained.data._replace(split={"val": some}))
    compared = abx.compare(alone, context="any", max_size_group=6)
    assert list(compared.table) == ["rows per second", "within", "above"]
    assert set(compared.cells["mfcc"]) == {"within"}
    assert list(compared.missing) == ["across"]
    assert "1 speakers" in compared.missing["across"]
    pd.testing.assert_series_equal(compared.errors, compared.table["within"])
    assert compared.main_cells("mfcc") is compared.cells["mfcc"]["within"]
    with pytest.raises(NoTriples, match="43 phones, 1 speakers"):
        abx.compare(alone)  # no context of this little corpus has two phones, and one of them twice


def test_what_has_no_triples_is_missing_and_the_rest_is_there(trained):
    """Of one speaker nothing across speakers and nothing within contexts; of no phones nothing at all."""
    pack = trained.data.pack
    some = [i for i in trained.data.split["val"] if pack.speaker[i] == 0]
    alone = trained._replace(data=trained.data._replace(split={"val": some}))
    found = abx.in_contexts(alone, at_most=6)
    pd.testing.assert_frame_equal(found["any"].table, abx.compare(alone, context="any", max_size_group=6).table)
    nothing = found["within"]
    assert list(nothing.missing) == ["across", "within"]
    assert (len(nothing.errors), nothing.main_cells("z_e"), list(nothing.table.index)) == (
        0,
        None,
        ["mfcc", "z_e", "z_q"],
    )
    assert abx.voices(nothing).empty
    both = abx.in_contexts(trained, contexts=["any"], at_most=6)
    assert list(both) == ["any"]
    assert both["any"].missing == {}
    pd.testing.assert_series_equal(both["any"].errors, both["any"].table["across"])
    silent = pack.voiced([pack.speakers[s] for s in pack.speaker])
    silent.phones = lambda i: []
    none = abx.in_contexts(trained._replace(data=trained.data._replace(pack=silent)))
    for one in none.values():
        assert (one.table.empty, len(one.errors), one.main_cells("codes")) == (True, 0, None)
        assert "has three phones in a row" in one.missing["across"] == one.missing["within"]


def test_systems_without_a_row_per_time_step_are_refused(trained):
    with pytest.raises(SpeechlibError, match="ABX needs a codec"):
        abx.stages(trained._replace(model=trained.model.encoder))


def test_a_plain_autoencoder_has_vectors_and_no_codes(trained):
    plain = presets.get("vqvae", "smoke", "folder", changes={"model.quantizer": "none"})
    model = systems.build(plain, trained.data).eval()
    stages = abx.stages(trained._replace(model=model, experiment=plain))
    assert list(stages) == ["mfcc", "z_e"]
    assert stages["z_e"].rate == 50
