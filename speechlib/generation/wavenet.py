"""Speech from a WaveNet, sample by sample: `generate` a wave, or `stream` its blocks while they come.

| path  | where | what                                                                    |
|-------|-------|-------------------------------------------------------------------------|
| numba | CPU   | compiled loop, a core per stream: logits of teacher forcing within 1e-5 |
| eager | any   | the same in plain PyTorch, all streams of a batch in step               |
| graph | CUDA  | the eager step recorded and replayed, many streams at once              |

Every path draws stream b's samples from the same random numbers, those of (seed, b), whatever the block size and the
number of streams beside it.
"""

import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechlibError, UnknownName
from ..models.distributions import check_drawing
from ..models.excitation import whiten
from ..models.wavenet import WaveNet
from .eager_wavenet import EagerWaveNet
from .graph_wavenet import GraphWaveNet

PATHS = ("auto", "numba", "eager", "graph")
Progress = Callable[[int, int, str], None]


def generate(
    model: WaveNet,
    condition: Tensor | None = None,
    speaker: Tensor | None = None,
    n_samples: int | None = None,
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    block: int = 1024,
    **options,
) -> Tensor:
    """wave (B, n_samples) in [-1, 1] on the CPU; the arguments are those of `stream`.

    `progress(done, total, text)` is told the speed and the time left after each block. Where `stop()` says so, or the
    run is interrupted, what is there is returned.
    """
    return gathered(stream(model, condition, speaker, n_samples, block=block, **options), progress, stop)


def gathered(coming, progress: Progress | None, stop: Callable[[], bool] | None) -> Tensor:
    """All blocks of a stream (this one's, or generation.clarinet's) as one wave (B, S), or those until it stopped."""
    blocks, done, began = [], 0, time.perf_counter()
    total = coming.n_samples
    try:
        for wave in coming:
            blocks.append(wave)
            done += wave.shape[1]
            if progress is not None:
                rate = done / max(time.perf_counter() - began, 1e-9)
                progress(done, total, f"{rate:,.0f} samples/s, {_clock((total - done) / rate)} left")
            if stop is not None and stop():
                break
    except KeyboardInterrupt:
        pass
    return torch.cat(blocks, dim=1) if blocks else torch.zeros(coming.n_streams, 0)


class stream:
    """Iterator over blocks of samples (B, <= block), so that playing can begin before the end.

    condition (B, C, T), speaker (B,) (-1 = nobody): what the model was trained with; a condition of one item serves all
    speakers and the other way round. n_samples per stream, by default as many as the condition covers. prompt (S,) or
    (B, S): the wave to go on from, at the beginning of the condition's stretch and not part of the result. n_streams:
    samples of the same thing side by side. temperature 0 is greedy; top_p < 1 draws from the nucleus. precision
    "int8" (numba) quarters the weights: more than twice as quick, less than 0.01 bit per sample of speech lost
    with any output (tests/benchmarks/test_precision_bench.py; bfloat16 loses more of a mixture of logistics).
    Raises SpeechlibError for what does not fit together and for weights that are not finite.
    """

    def __init__(
        self,
        model: WaveNet,
        condition: Tensor | None = None,
        speaker: Tensor | None = None,
        n_samples: int | None = None,
        *,
        n_streams: int | None = None,
        prompt: Tensor | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        block: int = 1024,
        path: str = "auto",
        threads: int | None = None,
        precision: str = "float32",
    ):
        check_drawing(temperature, top_p)
        for name, least, value in (("block", 1, block), ("n_streams", 1, n_streams), ("seed", 0, seed)):
            if value is not None and value < least:
                raise SpeechlibError(f"{name} is {value}: at least {least}")
        if prompt is not None:
            prompt = torch.atleast_2d(prompt.detach().cpu().float())
            if prompt.ndim > 2:
                raise SpeechlibError(f"a prompt of shape {tuple(prompt.shape)}: wanted a wave (S,), or (B, S)")
            if prompt.numel() == 0:
                raise SpeechlibError("the prompt is empty: leave it out to begin from silence")
        for name, given in (("prompt", prompt), ("condition", condition)):
            if given is not None and not given.isfinite().all():
                raise SpeechlibError(
                    f"{name} is not finite: is there a NaN in the features or a file that is no audio?"
                )
        self.n_streams = common(condition=condition, speaker=speaker, prompt=prompt, n_streams=n_streams)
        given = 0 if prompt is None else prompt.shape[1]
        covered = None if condition is None else condition.shape[-1] * model.config.hop - given
        if n_samples is None and covered is None:
            raise SpeechlibError("how long? Without a condition n_samples must be given")
        self.n_samples = covered if n_samples is None else n_samples
        if self.n_samples < 1 or (covered is not None and self.n_samples > covered):
            stretch = "" if covered is None else f"; the condition covers {covered} samples behind the prompt"
            raise SpeechlibError(f"{self.n_samples} samples cannot be generated{stretch}")
        past = torch.zeros(self.n_streams, 0) if prompt is None else prompt.expand(self.n_streams, -1)
        there = None if condition is None else condition.to(next(model.parameters()).device)
        filters = model.filters(there, given + self.n_samples)
        self.model = _engine(path, model, condition, speaker, self.n_streams, threads, precision)
        if prompt is not None:
            self.model.force(past if filters is None else whiten(past.to(filters.gain.device), filters))
        self.synthesis = None
        if filters is not None:
            from .synthesis import Synthesis  # here, because numba takes half a second to import

            self.synthesis = Synthesis(filters, self.n_streams, past)
        self.options = (float(temperature), float(top_p))
        self.block, self.done = block, 0
        self.sources = [np.random.default_rng([seed, b]) for b in range(self.n_streams)]

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        n = min(self.block, self.n_samples - self.done)
        if n == 0:
            raise StopIteration
        uniform = torch.from_numpy(np.stack([source.random((n, 2)) for source in self.sources]))
        self.done += n
        inner = self.model.sample(uniform, *self.options).cpu()
        return inner if self.synthesis is None else self.synthesis(inner)

    def select(self, chosen: np.ndarray) -> None:
        """Stream b goes on from where stream chosen[b] is, chosen (B,), each with random numbers of its own.

        For streams of one condition and one speaker."""
        self.model.select(chosen)
        if self.synthesis is not None:
            self.synthesis.select(chosen)


def _engine(path: str, model: WaveNet, condition, speaker, n_streams: int, threads: int | None, precision: str):
    if path not in PATHS:
        raise UnknownName("path of generation", path, PATHS)
    device = next(model.parameters()).device
    if path == "auto":
        path = {"cpu": _on_the_cpu(), "cuda": "graph"}.get(device.type, "eager")
    condition, speaker = (x if x is None else x.to(device) for x in (condition, speaker))
    if precision != "float32" and path != "numba":
        raise SpeechlibError(f"precision {precision!r} is for the numba path, this one is {path!r}")
    if path == "eager":
        return EagerWaveNet(model, condition, speaker, n_streams)
    if path == "graph":
        return GraphWaveNet(model, condition, speaker, n_streams)
    if device.type != "cpu":
        raise SpeechlibError(f"the numba path runs on the CPU, the model is on {device}: model.cpu(), or path='eager'")
    from .numba_wavenet import NumbaWaveNet  # here, because numba takes half a second to import

    return NumbaWaveNet(model, condition, speaker, n_streams, threads, precision)


def _on_the_cpu() -> str:
    """The path for a CPU: compiled, unless numba was told not to compile."""
    import numba

    if not numba.config.DISABLE_JIT:
        return "numba"
    warnings.warn("NUMBA_DISABLE_JIT is set, so nothing is compiled: generation is some ten times slower", stacklevel=4)
    return "eager"


def common(n_streams: int | None, **items: Tensor | None) -> int:
    """How many streams: what is given for more than one item must agree, one item serves all."""
    sizes = {name: len(item) for name, item in items.items() if item is not None}
    if n_streams is not None:
        sizes["n_streams"] = n_streams
    several = {name: size for name, size in sizes.items() if size != 1}
    if len(set(several.values())) > 1 or 0 in several.values():
        found = ", ".join(f"{name} {size}" for name, size in several.items())
        raise SpeechlibError(f"items do not agree: {found}; each must be 1 or the same number")
    return next(iter(several.values()), 1)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
