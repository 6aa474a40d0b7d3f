import nbformat.v4
import pytest

from tests.laws.planted import code, none, only, plant_notebook, text
from tests.laws.predictions import violations
from tests.laws.project import ROOT

QUESTION = "**Predict**: how many are right?"


def asks(answer=("0.35", "a third"), reveal="reveal", source=QUESTION):
    cell = text(source, "question")
    cell.metadata["prediction"] = {"answer": list(answer), "reveal": reveal}
    return cell


def prints(words: str, id: str = "reveal", source: str = "print(f'right ≈ {share:.2f}')"):
    return code(source, id, outputs=[nbformat.v4.new_output("stream", name="stdout", text=words)])


def planted(root, *cells):
    return plant_notebook(root, "notebooks/01_a.ipynb", *cells)


def test_repository():
    none(violations(ROOT))


@pytest.mark.parametrize(
    "cells",
    [
        [asks(), prints("right ≈ 0.35\n")],
        [asks(), code("train()", "way"), prints("right ≈ 0.35\n")],
        [asks(), prints("right ≈ 0.36\n"), text("About a third: why?")],
        [asks(), text("<details><summary>Look</summary>\n\nA third.\n</details>", "reveal")],
        [asks(), code("seed = 0.351, 10.35, 'athird'", "way"), prints("0.35")],
        [asks(), code("# twin: lessons_lib.a.f\ndef f(): return 0.35", "way"), prints("0.35")],
    ],
)
def test_prediction_that_can_be_made(tmp_path, cells):
    none(violations(planted(tmp_path, *cells)))


@pytest.mark.parametrize(
    "cells, says",
    [
        ([text(QUESTION), prints("0.35")], "say its answer in the metadata"),
        ([asks(source="A text."), prints("0.35")], "no question"),
        ([asks(answer=[]), prints("0.35")], "no list of answers"),
        ([asks(answer="0.35", reveal="gone"), prints("0.35")], "none of the next"),
        ([asks()] + [code("1", f"way-{n}") for n in range(8)] + [prints("0.35")], "none of the"),
        ([asks(), prints("0.40")], "stands in [reveal]"),
        ([asks(), text("It is a third.", "reveal")], "stands in [reveal]"),
        # what gives it away: an assertion, a title, an alt text, a bound, a text, an output
        ([asks(), prints("0.35", source="assert share > 0.35")], "[reveal] gives the answer"),
        ([asks(), prints("0.35", source="bars(s, 'Only a third')")], "'a third' away"),
        ([asks(), prints("0.35", source="bars(s, alt='a Third')")], "'a third' away"),
        ([asks(), code("print('above 0.35')", "way"), prints("0.35")], "[way] gives the answer"),
        ([asks(), text("A third, you will see.", "way"), prints("0.35")], "[way] gives"),
        ([asks(), prints("0.35", "way", "f()"), prints("0.35")], "what is shown by [way]"),
    ],
)
def test_planted_fault(tmp_path, cells, says):
    found = violations(planted(tmp_path, *cells))
    if says == "stands in [reveal]" and len(found) == 2:  # an open text gives itself away, too
        found = found[:1]
    only(found, "notebooks/01_a.ipynb [", says)
