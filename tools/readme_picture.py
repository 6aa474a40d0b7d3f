"""Draw the README's picture from the scoreboard: three models of the course on the same data.

python tools/readme_picture.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds the modules of its own folder only

from lessons_lib.kit import figures  # noqa: E402
from lessons_lib.kit.scoreboard import finals, mean_by_length, scoreboard  # noqa: E402

PICTURE = ROOT / ".github" / "exact_match_by_length.png"
CURVES = {
    "Transformer (lesson 7)": "Transformer, pre-norm",
    "GRU with attention (lesson 2)": "GRU with attention",
    "GRU with one vector (lesson 1)": "GRU, one vector",
}


def main() -> None:
    rows = scoreboard()
    by_length = {
        name: mean_by_length(finals(rows, model, steps=600)) for name, model in CURVES.items()
    }
    title = "Numbers translated without a single error"
    picture = figures.by_length(by_length, title, alt="")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(picture.png())


if __name__ == "__main__":
    main()
