"""Scores against tables worked out by hand, closed forms and slow loops."""

from itertools import combinations, product
from math import comb, log, log2, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechlib.errors import SpeechlibError
from speechlib.evaluation import clustering, distances, distortion, mapping, probes, projection, speakers, usage


def tokens(codes, phones, utterances=None, speakers=None):
    n = len(codes)
    utterances = utterances or ["u"] * n
    return pd.DataFrame(
        {
            "utterance": pd.Categorical(utterances),
            "speaker": pd.Categorical(speakers or ["s"] * n),
            "step": np.arange(n),
            "time": 0.01 + 0.02 * np.arange(n),
            "code": np.asarray(codes, dtype=np.int64),
            "phone": pd.Categorical(phones),
        }
    )


# ---- clustering: a 2 x 3 contingency table worked out by hand
#            code 0  code 1  code 2
# phone a      4       1       0     5
# phone b      0       2       3     5
#              4       3       3    10
TABLE = [[4, 1, 0], [0, 2, 3]]
PHONES = ["a"] * 5 + ["b"] * 5
CODES = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_scores_equal_a_hand_worked_table():
    pairs_both = comb(4, 2) + comb(2, 2) + comb(3, 2)  # 6 + 1 + 3
    pairs_phone, pairs_code, pairs = 2 * comb(5, 2), comb(4, 2) + 2 * comb(3, 2), comb(10, 2)
    expected = pairs_phone * pairs_code / pairs
    ari = (pairs_both - expected) / ((pairs_phone + pairs_code) / 2 - expected)
    h_phone = log(2)
    h_code = -(0.4 * log(0.4) + 2 * 0.3 * log(0.3))
    information = sum(
        n / 10 * log(n / 10 / (0.5 * column)) for row in TABLE for n, column in zip(row, (0.4, 0.3, 0.3)) if n
    )
    # expected information of random tables with these margins: hypergeometric, summed out
    chance = sum(
        n / 10 * log(10 * n / (5 * b)) * comb(b, n) * comb(10 - b, 5 - n) / comb(10, 5)
        for b in (4, 3, 3)
        for n in range(max(1, b - 5), min(5, b) + 1)
    )
    mean = (h_phone + h_code) / 2
    found = clustering.agreement(tokens(CODES, PHONES))
    assert tuple(found) == clustering.SCORES
    assert found["ari"] == pytest.approx(ari)
    assert found["nmi"] == pytest.approx(information / mean)
    assert found["ami"] == pytest.approx((information - 2 * chance) / (mean - 2 * chance))
    assert found["homogeneity"] == pytest.approx(information / h_phone)
    assert found["completeness"] == pytest.approx(information / h_code)
    assert found["v_measure"] == pytest.approx(found["nmi"])
    assert found["purity"] == pytest.approx((4 + 2 + 3) / 10)


def test_information_is_that_of_the_table():
    # rows of TABLE: H(phone) = 1 bit, H(phone | code) from the columns (4, 0), (1, 2), (0, 3)
    conditional = 0.3 * -(1 / 3 * log2(1 / 3) + 2 / 3 * log2(2 / 3))
    assert clustering.mutual_information(PHONES, CODES) == pytest.approx(1 - conditional)
    assert clustering.mutual_information([*PHONES, None], [*CODES, 9]) == pytest.approx(1 - conditional)


def test_unlabelled_rows_are_left_out_and_lengths_must_agree():
    with_gap = tokens([*CODES, 7, 7], [*PHONES, None, None])
    assert clustering.agreement(with_gap) == clustering.agreement(tokens(CODES, PHONES))
    with pytest.raises(SpeechlibError, match="3 true labels against 2"):
        clustering.scores([0, 1, 1], [0, 1])


def test_perfect_and_shuffled_codes_stand_at_both_ends():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 10, 4000)
    rows = tokens(codes, [f"p{c}" for c in codes])
    assert clustering.agreement(rows) == pytest.approx(dict.fromkeys(clustering.SCORES, 1.0))
    chance = clustering.agreement(clustering.shuffled(rows))
    assert abs(chance["ari"]) < 0.01
    assert abs(chance["ami"]) < 0.01


def test_kmeans_finds_clusters_that_are_there_and_interpolation_is_linear():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 8)) * 10
    truth = rng.integers(0, 5, 600)
    frames = centres[truth] + rng.normal(size=(600, 8))
    found = clustering.kmeans(frames[:400], frames, 5)
    assert clustering.scores(truth, found)["ari"] == pytest.approx(1)
    assert (found == clustering.kmeans(frames[:400], frames, 5)).all()
    with pytest.raises(SpeechlibError, match="needs as many frames, got 3"):
        clustering.kmeans(frames[:3], frames, 5)
    ramp = np.stack([np.arange(6.0), 10 - np.arange(6.0)])
    assert clustering.frames_at(ramp, [-0.5, 1.5, 3, 5.5]) == pytest.approx(
        np.array([[0, 10], [1.5, 8.5], [3, 7], [5, 5]])
    )


# ---- usage


def test_usage_closed_forms():
    assert usage.perplexity(np.arange(64).repeat(3), 64) == pytest.approx(64)
    assert usage.perplexity([5] * 9, 64) == pytest.approx(1)
    assert usage.codes_used([1, 1, 3], 4) == 2
    assert usage.entropy([[1, 1, 0], [0, 0, 0], [1, 2, 1]]) == pytest.approx([1, 0, 1.5])
    with pytest.raises(SpeechlibError, match="the codebook has 4"):
        usage.codes_used([4], 4)


def test_bitrate_is_codes_per_second_times_entropy():
    rate = usage.bitrate(tokens([0, 1, 2, 3] * 4, ["a"] * 16), 8)
    assert rate == pytest.approx((50, 2, 100, 150))


# ---- mapping


def test_mapping_is_fitted_on_one_part_and_scored_on_another():
    seen = tokens([0, 0, 0, 1, 1], ["a", "a", "b", "b", "b"])
    fitted = mapping.fit(seen, codebook_size=3)
    assert list(fitted.best) == ["a", "b", "b"]  # code 2 was never seen: the commonest phone
    assert mapping.phone_given_code(fitted).to_numpy() == pytest.approx(np.array([[2 / 3, 1 / 3], [0, 1], [0, 0]]))
    other = tokens([0, 1, 2, 2, 0], ["a", "a", "b", "c", "b"])
    assert mapping.score(fitted, other) == pytest.approx((2 / 5, 2 / 5, 5))
    table = mapping.confusion(fitted, other)
    assert list(table.index) == ["a", "b", "c"]
    assert table.to_numpy() == pytest.approx(np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 1, 0]]))


def test_mapping_of_another_codebook_is_refused():
    fitted = mapping.fit(tokens([0, 1], ["a", "b"]), 2)
    with pytest.raises(SpeechlibError, match="code 5 was met, the mapping knows 2"):
        mapping.score(fitted, tokens([5], ["a"]))
    with pytest.raises(SpeechlibError, match="run from 0 to 1, the codebook has 1"):
        mapping.fit(tokens([0, 1], ["a", "b"]), 1)


# ---- speakers


def test_speaker_distributions_and_divergences():
    rows = tokens([0, 0, 1, 1, 2, 3], ["a"] * 6, speakers=["x", "x", "y", "y", "z", "z"])
    p = speakers.distributions(rows, 4)
    assert p.to_numpy() == pytest.approx(np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5]]))
    assert speakers.jensen_shannon(p) == pytest.approx(1 - np.eye(3))
    assert list(speakers.evenness(p)["missing"]) == pytest.approx([2, 2, 1])
    assert clustering.mutual_information(rows["speaker"], rows["code"]) == pytest.approx(
        log2(3)
    )  # a code names its speaker
    half = speakers.jensen_shannon([[1, 0], [0.5, 0.5]])[0, 1]
    assert half == pytest.approx(-(0.75 * log2(0.75) + 0.25 * log2(0.25)) - 0.5)
    assert speakers.pairs(np.arange(9).reshape(3, 3)).tolist() == [1, 2, 5]


def test_dealt_out_speakers_are_chance():
    rng = np.random.default_rng(0)
    utterances = [f"u{i // 20}" for i in range(2000)]
    names = [f"s{(i // 20) % 4}" for i in range(2000)]
    rows = tokens([int(s[1]) for s in names], ["a"] * 2000, utterances, names)
    dealt = speakers.reassigned(rows)
    assert dealt.groupby("utterance", observed=True)["speaker"].nunique().max() == 1
    assert sorted(dealt["speaker"].value_counts()) == sorted(rows["speaker"].value_counts())
    assert clustering.mutual_information(rows["speaker"], rows["code"]) == pytest.approx(2)
    assert clustering.mutual_information(dealt["speaker"], dealt["code"]) < 0.3
    independent = rows.assign(code=rng.integers(0, 4, 2000))
    assert clustering.mutual_information(independent["speaker"], independent["code"]) < 0.02


# ---- distances


def test_distances_equal_loops_over_pairs():
    """Mistake 18."""
    rng = np.random.default_rng(0)
    z_e, codebook = rng.normal(size=(7, 3)), rng.normal(size=(4, 3))
    found = distances.distances(z_e, codebook)
    assert found.encoder == pytest.approx([np.linalg.norm(a - b) for a, b in combinations(z_e, 2)])
    assert found.codebook == pytest.approx([np.linalg.norm(a - b) for a, b in combinations(codebook, 2)])
    assert found.encoder_to_code == pytest.approx([np.linalg.norm(a - b) for a, b in product(z_e, codebook)])
    p = distances.code_probabilities(z_e, codebook)
    slow = np.array([[np.exp(-np.sum((z - e) ** 2)) for z in z_e] for e in codebook])
    assert p == pytest.approx(slow / slow.sum(axis=0))
    assert distances.code_probabilities(z_e * 1e3, codebook).sum(axis=0) == pytest.approx(1)  # no underflow
    small = distances.distances(z_e, codebook, limit=5)
    assert (len(small.encoder), len(small.codebook), len(small.encoder_to_code)) == (10, 6, 20)
    with pytest.raises(SpeechlibError, match=r"\(7, 3\) and codebook \(4, 2\)"):
        distances.distances(z_e, codebook[:, :2])


# ---- distortion


def test_cepstral_distortion_is_the_rms_difference_of_log_spectra():
    """A ripple of a nepers on a log spectrum has an rms of 20 / ln 10 * a / sqrt(2) dB, whatever the level."""
    k, m = np.arange(40), 3
    flat = np.ones((40, 5))
    ripple = flat + 0.7 + 0.2 * np.cos(np.pi * m * (k + 0.5) / 40)[:, None]
    c = distortion.mel_cepstrum(ripple)
    assert c[0] == pytest.approx(1.7)
    assert c[m] == pytest.approx(0.2)
    found = distortion.mel_cepstral_distortion(distortion.mel_cepstrum(flat), c)
    assert found == pytest.approx(20 / log(10) * 0.2 / sqrt(2))
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40, 9))
    whole = distortion.mel_cepstral_distortion(*(distortion.mel_cepstrum(x, 40) for x in (a, b)))
    level = (a - b) - (a - b).mean(axis=0)
    # Parseval: all coefficients but the level give the rms over bands, frame by frame
    assert whole == pytest.approx(20 / log(10) * np.sqrt(np.mean(level**2, axis=0)).mean())
    with pytest.raises(SpeechlibError, match=r"\(40, 9\) and estimate \(39, 9\)"):
        distortion.mel_cepstral_distortion(a, b[1:])


def test_spectral_convergence():
    s = np.random.default_rng(0).random((10, 20))
    assert distortion.spectral_convergence(s, s) == 0
    assert distortion.spectral_convergence(s, 0 * s) == pytest.approx(1)
    assert distortion.spectral_convergence(s, 0.5 * s) == pytest.approx(0.5)
    with pytest.raises(SpeechlibError, match="silent"):
        distortion.spectral_convergence(0 * s, s)


def test_distortion_of_whole_utterances_is_that_of_their_parts():
    rng = np.random.default_rng(0)
    references, estimates = ([rng.normal(size=(20, t)) for t in lengths] for lengths in ((9, 30), (11, 28)))
    found = distortion.distortion(references, estimates)
    cut = [(references[0], estimates[0][:, :9]), (references[1][:, :28], estimates[1])]
    mcd = [distortion.mel_cepstral_distortion(*(distortion.mel_cepstrum(x / 2) for x in pair)) for pair in cut]
    assert found.mel_cepstral == pytest.approx(np.mean(mcd))
    # half the amplitude in every band: 6 dB of level, no change of shape
    softer = distortion.distortion(references, [x + 2 * log(0.5) for x in references])
    assert softer == pytest.approx((0, 0.5, 20 * (2 * log(2)) ** 2), abs=1e-6)
    with pytest.raises(SpeechlibError, match="2 references and 1 estimates"):
        distortion.distortion(references, estimates[:1])


@given(st.floats(-3, 3), st.floats(0.1, 4))
def test_frechet_distance_of_a_shifted_and_stretched_cloud(shift, stretch):
    """y = stretch x + shift commutes with x: |m|^2 + sum (sd_x - sd_y)^2."""
    x = np.random.default_rng(0).normal(size=(200, 4)) * [1, 2, 0.5, 1]
    y = stretch * x + shift
    mean = (x.mean(axis=0) - y.mean(axis=0)) ** 2
    spread = (1 - stretch) ** 2 * x.var(axis=0, ddof=1)
    assert distortion.frechet_distance(x, y) == pytest.approx(float(np.sum(mean + spread)), abs=1e-8)


def test_frechet_distance_of_turned_clouds_equals_scipy():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)), rng.normal(size=(200, 3)) @ rng.normal(size=(3, 3)) + 1
    cx, cy = np.cov(x.T), np.cov(y.T)
    shift = x.mean(0) - y.mean(0)
    slow = shift @ shift + np.trace(cx + cy - 2 * sqrtm(cx @ cy).real)
    assert distortion.frechet_distance(x, y) == pytest.approx(slow)
    assert distortion.frechet_distance(x, x) == pytest.approx(0, abs=1e-10)


# ---- probes


def test_a_probe_reads_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1500)
    groups = np.repeat(np.arange(30), 50)
    direction = rng.normal(size=(3, 6)) * 4
    told = probes.linear_probe(direction[labels] + rng.normal(size=(1500, 6)), labels, groups)
    untold = probes.linear_probe(rng.normal(size=(1500, 6)), labels, groups)
    assert told.accuracy > 0.98
    assert told.n_classes == 3
    assert abs(untold.accuracy - 1 / 3) < 0.1
    assert abs(untold.majority - 1 / 3) < 0.1


def test_a_probe_holds_out_whole_utterances():
    """Vectors that only name their utterance: splitting inside utterances would read the label perfectly."""
    groups = np.repeat(np.arange(40), 25)
    labels = np.random.default_rng(0).integers(0, 2, 40)[groups]
    found = probes.linear_probe(np.eye(40)[groups], labels, groups)
    assert found.accuracy == pytest.approx(max(found.majority, 1 - found.majority), abs=0.25)
    assert found.accuracy < 0.9
    with pytest.raises(SpeechlibError, match="at least two"):
        probes.linear_probe(np.eye(4), [0, 1, 0, 1], ["u"] * 4)
    with pytest.raises(SpeechlibError, match="two classes"):
        probes.linear_probe(np.eye(4), [1] * 4, list("uuvv"))


# ---- projection


def clouds():
    rng = np.random.default_rng(0)
    codebook = rng.normal(size=(6, 8)).astype(np.float32) * 6
    codes = rng.integers(0, 6, 240)
    return codebook, codes, (codebook[codes] + rng.normal(size=(240, 8))).astype(np.float32)


def test_a_map_keeps_neighbours_and_is_bit_identical():
    codebook, codes, z_e = clouds()
    first = projection.project([z_e, codebook], n_neighbors=10)
    again = projection.project([z_e, codebook], n_neighbors=10)
    assert first.method == "UMAP"
    assert first.notice == ""
    assert all(np.array_equal(a, b) for a, b in zip(first.parts, again.parts))
    points, crosses = first.parts
    nearest = np.linalg.norm(points[:, None] - crosses, axis=-1).argmin(axis=1)
    assert np.mean(nearest == codes) > 0.95


def test_quantised_frames_lie_on_their_codes_until_jittered():
    codebook, codes, _ = clouds()
    points, crosses = projection.project([codebook[codes], codebook], n_neighbors=3).parts
    assert np.array_equal(points, crosses[codes])
    moved = projection.jitter(points, 0.01)
    assert 0 < np.abs(moved - points).max() < 0.1 * points.std()
    assert np.array_equal(moved, projection.jitter(points, 0.01))


def test_without_umap_the_map_is_pca_and_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "umap", None)
    codebook, _, z_e = clouds()
    found = projection.project([z_e, codebook])
    assert found.method == "PCA"
    assert "umap-learn is not installed" in found.notice
    both = np.concatenate(found.parts)
    values = np.linalg.svd(
        np.unique(np.concatenate([z_e, codebook]), axis=0) - np.concatenate([z_e, codebook]).mean(0)
    )[1]
    assert both.std(axis=0) * sqrt(len(both)) == pytest.approx(values[:2], rel=1e-3)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_very_few_points_still_make_a_map(n):
    found = projection.project([np.arange(n * 3, dtype=float).reshape(n, 3)])
    assert found.parts[0].shape == (n, 2)
    assert "too few" in found.notice


def test_maps_refuse_what_they_cannot_show():
    with pytest.raises(SpeechlibError, match="5000 vectors"):
        projection.project([np.random.default_rng(0).normal(size=(5000, 2))])
    with pytest.raises(SpeechlibError, match="wanted"):
        projection.project([np.zeros((3, 2)), np.zeros((3, 4))])
    with pytest.raises(SpeechlibError, match="NaN"):
        projection.project([np.full((6, 2), np.nan)])


def test_a_map_leaves_the_threads_of_torch_alone():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        projection.project([np.random.default_rng(0).normal(size=(40, 4))])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
