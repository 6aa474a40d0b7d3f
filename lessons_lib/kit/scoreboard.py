"""What every model of the course reached on the same task; `tools/scoreboard.py` measures it."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

RESULTS = Path(__file__).parents[1] / "scoreboard.json"


@dataclass(frozen=True)
class Row:
    """One training: exact match on 1,000 held-out numbers, free-running, in all and by length."""

    model: str
    lr: float
    steps: int
    seed: int
    n_parameters: int
    exact_match: float
    by_length: dict[str, float]


def scoreboard(path: Path = RESULTS) -> list[Row]:
    """Every training that was measured, those of the search for the learning rate included."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def best_rate(rows: list[Row], model: str) -> float:
    """The learning rate with the highest exact match of this model, seed 0, fewest steps."""
    own = [row for row in rows if row.model == model]
    fewest = min(row.steps for row in own)
    tried = [row for row in own if row.seed == 0 and row.steps == fewest]
    return max(tried, key=lambda row: row.exact_match).lr


def finals(rows: list[Row], model: str, steps: int) -> list[Row]:
    """The rows of all seeds after `steps` steps at the model's best learning rate."""
    lr = best_rate(rows, model)
    return [row for row in rows if (row.model, row.lr, row.steps) == (model, lr, steps)]


def mean_by_length(rows: list[Row]) -> dict[str, float]:
    """Average the rows bin by bin, such as those that `finals` gives."""
    return {name: mean(row.by_length[name] for row in rows) for name in rows[0].by_length}
