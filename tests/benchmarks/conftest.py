"""`make bench` ends with a table: every figure beside its target. A missed target is shown, and fails nothing.

A benchmark puts name, figure, unit, target (None: only for comparison) and direction ("higher" or "lower" is better)
into its extra_info, from where they also go into the JSON under outputs/benchmarks.
"""

import pytest
import torch


@pytest.fixture
def one_thread():
    """With more, a figure would depend on what else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    told = [bench.extra_info for bench in config._benchmarksession.benchmarks if "figure" in bench.extra_info]
    if not told:
        return
    terminalreporter.section("figure against target")
    width = max(len(info["name"]) for info in told)
    for info in told:
        figure, target = info["figure"], info["target"]
        wanted, verdict, look = "", "", {}
        if target is not None:
            met = figure >= target if info["direction"] == "higher" else figure <= target
            wanted = f"{'at least' if info['direction'] == 'higher' else 'at most'} {target:g}"
            verdict, look = ("met", {"green": True}) if met else ("MISSED", {"red": True})
        terminalreporter.write_line(
            f"{info['name']:{width}} {figure:9.4g}  {wanted:16} {verdict:7} {info['unit']}", **look
        )
