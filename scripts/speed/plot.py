"""Draws the curves from results.csv; needs matplotlib. Its argument is the folder."""

import statistics
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

import records  # noqa: E402
from ways import DIRECT  # noqa: E402

PIXELS_PER_INCH = 110
FOLDER = Path(sys.argv[1])


def main():
    measured = records.load(FOLDER)
    bars(measured, "throughput.png", "rate, as a ratio to direct", lambda case, way: measured.paired("throughput", case, way, DIRECT, "per_second"), 1)
    bars(measured, "cpu.png", "CPU of the proxy for each request, µs", lambda case, way: measured.values("throughput", case, way, "cpu_us"))
    connections(measured)
    rules(measured)


def bars(measured, name, label, values, line=None):
    """One group of bars for each depth, with the least and the most of the rounds."""
    cases = measured.seen("throughput", "case")
    ways = [way for way in measured.seen("throughput") if way != DIRECT]
    if not ways:
        return
    figure, axes = plt.subplots(figsize=(9, 4.2))
    width = 0.8 / len(ways)
    for at, way in enumerate(ways):
        found = [values(case, way) for case in cases]
        middle = [statistics.median(each) for each in found]
        around = [[m - min(each) for m, each in zip(middle, found)], [max(each) - m for m, each in zip(middle, found)]]
        places = [place + (at - (len(ways) - 1) / 2) * width for place in range(len(cases))]
        axes.bar(places, middle, width * 0.92, yerr=around, capsize=2, label=way, error_kw={"linewidth": 0.8})
    if line:
        axes.axhline(line, color="black", linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(cases)), cases)
    axes.set_ylabel(label)
    axes.set_title("GET of 64 B, 50 clients: medians, least and most of the rounds", fontsize=10)
    axes.legend(fontsize=8)
    save(figure, name)


def connections(measured):
    cases, ways = measured.seen("connections", "case"), [way for way in measured.seen("connections") if way != DIRECT]
    if not ways:
        return
    figure, axes = plt.subplots(figsize=(7, 4))
    for way in ways:
        curve(axes, [int(case) for case in cases], [measured.values("connections", case, way, "cpu_us") for case in cases], way)
    axes.set_xscale("log")
    axes.set_xticks([int(case) for case in cases], cases)
    axes.set_xlabel("connections, all of them busy at depth 1")
    save(figure, "connections.png", axes)


def rules(measured):
    ways = measured.seen("rules")
    if not ways:
        return
    case = measured.seen("rules", "case")[0]
    figure, axes = plt.subplots(figsize=(7, 4))
    counts = [int(way.split()[0]) for way in ways]
    curve(axes, counts, [measured.values("rules", case, way, "cpu_us") for way in ways], f"respguard, {case}")
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("rules, none of which matches")
    save(figure, "rules.png", axes)


def curve(axes, places, values, label):
    middle = [statistics.median(each) for each in values]
    axes.plot(places, middle, marker="o", markersize=4, label=label)
    axes.fill_between(places, [min(each) for each in values], [max(each) for each in values], alpha=0.15)


def save(figure, name, axes=None):
    if axes:
        axes.set_ylim(bottom=0)
        axes.set_ylabel("CPU of the proxy for each request, µs")
        axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(FOLDER / name, dpi=PIXELS_PER_INCH, metadata={"Software": None})
    plt.close(figure)


main()
