"""A first tier that is told what to say: the window over the text, two ways to run it, and that it learns to read."""

import pytest
import torch

from speechlib.errors import SpeechlibError
from speechlib.generation.melnet import Drawing, cached_parameters, draw_tier
from speechlib.models.melnet import Grid, MelNetConfig, Tier
from speechlib.models.melnet_text import NOTHING, Reader
from speechlib.systems import toy_reading

CONFIG = MelNetConfig((2,), hidden=8, n_mixtures=2)


@pytest.fixture
def tier() -> Tier:
    torch.manual_seed(3)
    return Tier(CONFIG, 2, 6, n_symbols=5).eval()


@pytest.fixture(scope="module")
def learned() -> toy_reading.Learned:
    return toy_reading.learn(toy_reading.written(256, 0), 350)


@torch.no_grad()
def test_the_window_is_a_mixture_of_logistic_bells_that_moves_to_the_right():
    torch.manual_seed(0)
    reader, h_c = Reader(8, 5, n_bells=2), torch.randn(1, 6, 8)
    letters = reader.read(torch.tensor([[0, 3, 1, 4]]))
    looked = reader(h_c, letters)
    step, beta, weight = reader.bells(h_c)[0].chunk(3, dim=-1)
    place = torch.zeros(2)
    for i in range(6):
        place = place + step[i].exp()
        for u in range(4):
            bells = torch.distributions.TransformedDistribution(
                torch.distributions.Uniform(torch.zeros(2), torch.ones(2)),
                [torch.distributions.SigmoidTransform().inv, torch.distributions.AffineTransform(place, beta[i].exp())],
            )
            mass = bells.cdf(torch.tensor(u + 0.5)) - bells.cdf(torch.tensor(u - 0.5))
            assert looked.attention[0, i, u] == pytest.approx((weight[i].softmax(0) * mass).sum().item(), abs=1e-6)
    torch.testing.assert_close(looked.place[0], place)
    torch.testing.assert_close(looked.context, reader.project(looked.attention @ letters))


def test_frames_one_by_one_are_frames_at_once():
    torch.manual_seed(0)
    reader, h_c = Reader(8, 5), torch.randn(2, 7, 8)
    letters = reader.read(torch.tensor([[0, 3, 1], [2, NOTHING, NOTHING]]))
    whole, place = reader(h_c, letters), None
    for i in range(7):
        one = reader(h_c[:, i : i + 1], letters, place)
        torch.testing.assert_close(one.context[:, 0], whole.context[:, i])
        place = one.place
    torch.testing.assert_close(place, whole.place)


def test_what_stands_behind_the_end_of_a_text_changes_nothing(tier):
    values = torch.randn(2, 6, 5)
    text = torch.tensor([[0, 3, 1], [2, 4, NOTHING]])
    together = tier(values, text=text)
    torch.testing.assert_close(tier(values[1:], text=text[1:, :2]), together[1:])
    assert (tier.letters(text)[1, 2] == 0).all()


def test_no_value_hears_itself_or_what_comes_after_it(tier):
    values, text = torch.randn(1, 6, 5, requires_grad=True), torch.tensor([[0, 3, 1]])
    i, j = 3, 2
    (heard,) = torch.autograd.grad(tier(values, text=text)[0, j, i].sum(), values)
    assert (heard[0, :, :i] != 0).all()
    assert (heard[0, :j, i] != 0).all()
    assert (heard[0, j:, i] == 0).all()
    assert (heard[0, :, i + 1 :] == 0).all()
    (of_letters,) = torch.autograd.grad(tier(values, text=text)[0, 0, 0].sum(), tier.reader.letters.weight)
    assert (of_letters.abs().sum(1) > 0).tolist() == [True, True, False, True, False]  # also the last letter, backwards


def test_step_by_step_is_teacher_forcing(tier):
    values, text = torch.randn(2, 6, 9), torch.tensor([[0, 3, 1], [2, 4, NOTHING]])
    slow = tier(values, text=text)
    torch.testing.assert_close(cached_parameters(tier, values, text=text), slow, atol=1e-5, rtol=0)


def test_what_was_given_moves_the_window_too(tier):
    uniform, text = torch.rand(1, 6, 9, 2, dtype=torch.double), torch.tensor([[0, 3, 1]])
    whole = draw_tier(tier, uniform, text=text)
    torch.testing.assert_close(draw_tier(tier, uniform, text=text, given=whole[:, :, :4]), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ([[0, 5]], "symbols 0 to 5"),
        ([[0, -2]], "symbols -2 to 0"),
        ([[NOTHING, NOTHING]], "at least one symbol each"),
        ([[0, NOTHING, 1]], "-1 behind the end and nowhere else"),
        ([0, 1], r"text of shape \(2,\): wanted \(B, L\), at least one symbol each"),
        ([[]], r"text of shape \(1, 0\)"),
        (None, "needs a text"),
    ],
)
def test_texts_that_cannot_be_read(tier, text, told):
    with pytest.raises(SpeechlibError, match=told):
        tier(torch.randn(1, 6, 5), text=None if text is None else torch.tensor(text))


def test_who_cannot_read_is_told_no_text():
    with pytest.raises(SpeechlibError, match="one without takes none"):
        Tier(CONFIG, 2, 6)(torch.randn(1, 6, 5), text=torch.tensor([[0]]))
    with pytest.raises(SpeechlibError, match="of a tier without one"):
        Tier(CONFIG, 2, None, n_symbols=5)
    with pytest.raises(SpeechlibError, match="1 layers"):
        Tier(CONFIG, 1, 6, n_symbols=5)
    with pytest.raises(SpeechlibError, match="must be 1 or more"):
        Reader(8, 0)


@pytest.mark.parametrize("path", ["numba", "graph"])
def test_compiled_paths_do_not_read(tier, path):
    with pytest.raises(SpeechlibError, match="by the eager path"):
        draw_tier(tier, torch.rand(1, 6, 3, 2, dtype=torch.double), text=torch.tensor([[0]]), path=path)


def test_pages_say_what_is_written():
    pages = toy_reading.written(20, 1)
    for grid, text in zip(pages.grids, pages.text):
        assert toy_reading.heard(grid) == toy_reading.spelled(text)
    assert torch.equal(pages.grids, toy_reading.written(20, 1).grids)
    assert (pages.said.diff(dim=1) >= 0).all()
    assert toy_reading.spelled(toy_reading.symbols("uoa")[0]) == "uoa"
    with pytest.raises(SpeechlibError, match="'xu' cannot be written"):
        toy_reading.symbols("xu")


def test_a_tier_learns_to_read(learned):
    """Held-out pages: with another text values cost more, the window is where the voice is, new words are said."""
    held = toy_reading.written(40, 1)
    with torch.inference_mode():
        right = toy_reading.cost(learned.tier, held.grids, held.text)
        wrong = toy_reading.cost(learned.tier, held.grids, held.text.roll(1, 0))
        at = learned.tier.attention(held.grids, held.text).argmax(-1)
    assert wrong - right > 0.03  # nats per value
    inside = held.said < (held.text != NOTHING).sum(1, keepdim=True)
    assert ((at - held.said).abs() <= 1)[inside].float().mean() > 0.95  # of a letter: the next one is looked for early
    uniform = torch.rand(40, *held.grids.shape[1:], 2, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    drawn = draw_tier(learned.tier, uniform, text=held.text, drawing=Drawing(0.5, 0.5))
    first = [toy_reading.heard(grid)[:2] == toy_reading.heard(page)[:2] for grid, page in zip(drawn, held.grids)]
    assert sum(first) > 15, sum(first)  # of 40 pages; two by chance


def test_training_leaves_the_seed_of_others_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    toy_reading.learn(toy_reading.written(4, 0), 1, batch=2)
    assert torch.equal(torch.rand(1), expected)
    grid = torch.randn(1, 8, 4)
    assert Grid(grid, None, torch.tensor([4]), None).n_values == 32
