"""n-grams of codes: a hand-worked step, a slow oracle, worlds whose entropy is known."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from speechlib.errors import SpeechlibError
from speechlib.evaluation.ngrams import NGram


def test_a_bigram_by_hand():
    """0 1 0 1, three codes. Pairs: S0 once, 01 twice, 10 once: D = 2 / (2 + 2) = 1/2. Below: 0 follows two symbols (S
    and 1), 1 follows one: D = 1 / (1 + 2) = 1/3, so P(0) = (2 - 1/3) / 3 + (1/3 * 2/3) / 3 = 17/27, P(1) = 8/27,
    P(2) = 2/27. Then P(1 | 0) = (2 - 1/2) / 2 + (1/2 * 1/2) * 8/27."""
    model = NGram([[0, 1, 0, 1]], 2, 3)
    assert 2 ** -model.bits([0, 1])[1] == pytest.approx(3 / 4 + 8 / 27 / 4)
    assert 2 ** -model.bits([0, 2])[1] == pytest.approx(2 / 27 / 4)
    assert 2 ** -model.bits([0])[0] == pytest.approx(1 / 2 + 17 / 27 / 2)  # S: one kind of code follows, once
    assert 2 ** -model.bits([2, 1])[1] == pytest.approx(8 / 27)  # nothing was seen behind 2: as without a context


def slowly(sequences, order: int, size: int):
    """Kneser-Ney by its recursion, with dictionaries. P(code, context) -> probability."""
    counts = [Counter()]
    for sequence in sequences:
        padded = [size] * (order - 1) + list(sequence)
        for t in range(order - 1, len(padded)):
            counts[0][tuple(padded[t - order + 1 : t + 1])] += 1
    while len(counts) < order:
        shorter = defaultdict(set)
        for gram in counts[-1]:
            shorter[gram[1:]].add(gram[0])
        counts.append(Counter({gram: len(fronts) for gram, fronts in shorter.items()}))

    def probability(code, context, level=0):
        if level == order:
            return 1 / size
        table = counts[level]
        once, twice = (sum(count == n for count in table.values()) for n in (1, 2))
        discount = once / (once + 2 * twice) if once else 0.5
        following = {gram[-1]: count for gram, count in table.items() if gram[:-1] == context}
        below = probability(code, context[1:], level + 1)
        if not following:
            return below
        total = sum(following.values())
        return max(following.get(code, 0) - discount, 0) / total + discount * len(following) / total * below

    return probability


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_it_is_kneser_ney(order):
    random = np.random.default_rng(order)
    size, weights = 6, random.dirichlet(np.full(6, 0.4))
    train = [random.choice(size, int(random.integers(1, 30)), p=weights) for _ in range(12)]
    held_out = random.integers(0, size, 25)
    oracle, padded = slowly(train, order, size), [size] * (order - 1) + held_out.tolist()
    contexts = [tuple(padded[t : t + order - 1]) for t in range(len(held_out))]
    expected = [-np.log2(oracle(code, context)) for code, context in zip(held_out, contexts)]
    np.testing.assert_allclose(NGram(train, order, size).bits(held_out), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_sum_to_one_in_every_context(order):
    random = np.random.default_rng(0)
    model = NGram([random.integers(0, 5, 40) for _ in range(3)], order, 7)  # codes 5 and 6 were never seen
    for before in ([], [0], [2, 2], [6, 1], [5, 6, 3]):
        chances = [2 ** -model.bits([*before, code])[-1] for code in range(7)]
        assert sum(chances) == pytest.approx(1)
        assert min(chances) > 0


def test_each_order_finds_what_it_can_see():
    """The next code is the sum of the last two, modulo 4: two bits for a unigram and a bigram, none for a trigram."""
    sequences = []
    for a in range(4):
        for b in range(4):
            sequence = [a, b]
            while len(sequence) < 400:
                sequence.append((sequence[-1] + sequence[-2]) % 4)
            sequences.append(sequence)
    cost = {n: np.mean([NGram(sequences, n, 4).bits(s)[2:] for s in sequences]) for n in (1, 2, 3)}
    assert cost[1] == pytest.approx(1.9, abs=0.15)
    assert cost[2] == pytest.approx(1.8, abs=0.25)
    assert cost[3] < 0.02


def test_counts_do_not_reach_from_one_utterance_into_the_next():
    together, apart = NGram([[0, 0, 1, 1]] * 5, 2, 2), NGram([[0, 0], [1, 1]] * 5, 2, 2)
    assert together.bits([0, 1])[1] == pytest.approx(1)
    assert apart.bits([0, 1])[1] > 3


def test_one_code_for_ever_costs_next_to_nothing():
    assert NGram([[3] * 1000], 2, 256).bits([3] * 50)[1:].max() < 0.02


@pytest.mark.parametrize(
    ("sequences", "order", "message"),
    [
        ([[0, 4]], 2, "codes run from 0 to 4, the codebook has 4"),
        ([], 2, "no codes to count"),
        ([[]], 1, "no codes to count"),
        ([[0]], 0, "order 1 or more"),
        ([[0]], 40, "fewer codes"),
    ],
)
def test_what_cannot_be_counted_is_refused(sequences, order, message):
    with pytest.raises(SpeechlibError, match=message):
        NGram(sequences, order, 4)
