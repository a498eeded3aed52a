"""What was measured, one value a line, as it is kept in docs/performance/results.csv."""

import csv
import statistics
from dataclasses import astuple, dataclass, fields

from stage import ROOT

#: Where the results of a whole run go, and those of one that is too short to be worth anything.
KEPT, TRIED = ROOT / "docs/performance", ROOT / "target/bench"
NAME = "results.csv"
#: The section of what is known of each section.
CONDITIONS = "conditions"


@dataclass
class Record:
    """One value: `case` is what was varied within the section, `way` the way to Redis, `round` from 0."""

    section: str
    case: str
    way: str
    round: int
    metric: str
    value: str


class Records:
    """All values of one run."""

    def __init__(self, rows=()):
        self.rows = list(rows)

    def add(self, section, case, way, round, **values):
        self.rows += [Record(section, str(case), way, round, metric, written(value)) for metric, value in values.items()]

    def values(self, section, case, way, metric):
        """The values of all rounds, in their order."""
        found = [row for row in self.rows
                 if (row.section, row.case, row.way, row.metric) == (section, str(case), way, metric)]
        return [float(row.value) for row in sorted(found, key=lambda row: row.round)]

    def median(self, section, case, way, metric):
        values = self.values(section, case, way, metric)
        return statistics.median(values) if values else None

    def paired(self, section, case, way, other, metric):
        """The ratio of one way to another within each round."""
        return [own / base for own, base in zip(self.values(section, case, way, metric),
                                                self.values(section, case, other, metric)) if base]

    def note(self, section, **values):
        """Under which conditions a section of `make bench` is measured."""
        self.add(CONDITIONS, section, "", 0, **values)

    def conditions(self, section):
        """The same, by name; nothing if it was not measured."""
        return {row.metric: row.value for row in self.rows if (row.section, row.case) == (CONDITIONS, section)}

    @staticmethod
    def part(row):
        """What is replaced together when something is measured again."""
        return (row.section, row.case if row.section == CONDITIONS else "")

    def seen(self, section, field="way"):
        """The ways or cases of a section, in the order in which they were measured first."""
        return list(dict.fromkeys(getattr(row, field) for row in self.rows if row.section == section))

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / NAME, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Record))
            writer.writerows(astuple(row) for row in self.rows)


def load(folder):
    with open(folder / NAME, newline="") as file:
        return Records(Record(**{**row, "round": int(row["round"])}) for row in csv.DictReader(file))


def written(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)
