"""Log-mel of 80 bands back to sound on one thread: seconds of speech per second, for one sentence and for eight."""

import pytest

SECONDS, RATE = 3, 16_000
TARGETS = {"griffin_lim": 1.0, "griffin_lim_without_momentum": None, "lbfgs": 0.3}


def voices(n: int):
    """Pulse trains with a gliding pitch, (n, S): as much work as speech, and no corpus needed."""
    import torch

    time = torch.arange(SECONDS * RATE) / RATE
    hertz = torch.linspace(80, 300, n)[:, None] * (1 + 0.2 * torch.sin(5 * time))
    phase = 2 * torch.pi * (hertz / RATE).cumsum(dim=1)
    return sum(0.1 / k * torch.sin(k * phase) for k in range(1, 20)) + 0.001 * torch.randn(n, len(time))


@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("way", list(TARGETS))
def test_inversion(benchmark, way, n):
    import torch

    from speechlib import inversion
    from speechlib.features import LOG_MEL, extract

    torch.manual_seed(0)
    log_mel = extract(voices(n), LOG_MEL)
    invert = {
        "griffin_lim": lambda: inversion.to_audio(log_mel, LOG_MEL),
        "griffin_lim_without_momentum": lambda: inversion.to_audio(log_mel, LOG_MEL, momentum=0.0),
        "lbfgs": lambda: inversion.refine(log_mel, LOG_MEL),
    }[way]
    assert benchmark.pedantic(invert, rounds=1 if benchmark.disabled else 3).isfinite().all()
    if not benchmark.disabled:
        benchmark.extra_info |= {
            "name": f"inversion: {way}, {n} at once",
            "figure": n * SECONDS / benchmark.stats.stats.min,
            "unit": "seconds of speech per second, one thread",
            "target": TARGETS[way],
            "direction": "higher",
        }
