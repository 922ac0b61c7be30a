"""Benchmarks tell their figure and its target; `make bench` ends with a table of both. A missed target fails nothing."""

import pytest

COLUMNS = ("name", "figure", "unit", "target", "direction")


@pytest.fixture
def tell(benchmark):
    """tell(name, figure, unit, target, direction): `direction` is "at least" or "at most"."""

    def tell(name: str, figure: float, unit: str, target: float, direction: str) -> None:
        assert direction in ("at least", "at most")
        benchmark.extra_info.update(zip(COLUMNS, (name, figure, unit, target, direction)))

    return tell


def pytest_terminal_summary(terminalreporter, config):
    told = [bench.extra_info for bench in config._benchmarksession.benchmarks if "target" in bench.extra_info]
    if not told:
        return
    terminalreporter.section("figure against target")
    width = max(len(info["name"]) for info in told)
    for info in told:
        figure, target = info["figure"], info["target"]
        met = figure >= target if info["direction"] == "at least" else figure <= target
        line = f"{info['name']:{width}}  {figure:10.4g} {info['unit']:20} {info['direction']} {target:g}"
        terminalreporter.write_line(f"{line}{'' if met else '   MISSED'}", green=met, red=not met)
