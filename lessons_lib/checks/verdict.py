"""The verdict on an answer, and how it looks in a notebook."""

import re
from dataclasses import dataclass
from html import escape

from lessons_lib.checks.exercise import Facts

# An icon and a word beside the colour, which not everybody sees. The colours follow JupyterLab's
# theme; the second value is for pages that have none.
LOOKS = {
    "pass": ("✓", "passed", "var(--jp-success-color1, #2e7d32)"),
    "fail": ("✗", "not yet", "var(--jp-error-color1, #d32f2f)"),
    "todo": ("○", "to do", "var(--jp-info-color1, #0288d1)"),
}


@dataclass(frozen=True, repr=False)
class Verdict:
    """What `check` returns: `status` is "pass", "fail" or "todo".

    `misconception` is the slug of the recognised mistake, or None. `message` is all that is said:
    one sentence, then the facts that show it.
    """

    exercise_id: str
    status: str
    misconception: str | None
    sentence: str
    facts: Facts = ()
    hints: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """The sentence, and one line for each fact."""
        width = max((len(label) for label, _ in self.facts), default=0)
        rows = [f"  {label:<{width}}  {text}" for label, text in self.facts]
        indented = [row.replace("\n", "\n" + " " * (width + 4)) for row in rows]
        return "\n".join([self.sentence, *indented])

    def __repr__(self) -> str:
        icon, word, _ = LOOKS[self.status]
        name = f" [{self.misconception}]" if self.misconception else ""
        lines = [f"{icon} {word}: {self.exercise_id}{name}", self.message]
        if self.hints:
            lines.append(f"{len(self.hints)} hints are in .hints, the gentlest first.")
        return "\n".join(lines)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.html()}

    def html(self) -> str:
        """The verdict as a coloured box; the hints are folded."""
        icon, word, colour = LOOKS[self.status]
        name = f" · <code>{escape(self.misconception)}</code>" if self.misconception else ""
        sentence = re.sub("`(.+?)`", r"<code>\1</code>", escape(self.sentence))
        rows = "".join(fact_row(label, text) for label, text in self.facts)
        table = f'<table style="margin: 0.5em 0">{rows}</table>' if rows else ""
        hints = "".join(
            f'<details style="margin-top: 0.3em"><summary>Hint {number}</summary>'
            f'<div style="margin: 0.2em 0 0.4em 1.2em">{escape(hint)}</div></details>'
            for number, hint in enumerate(self.hints, start=1)
        )
        return (
            f'<div style="border-left: 4px solid {colour}; padding: 0.3em 1em; margin: 0.3em 0">'
            f'<div><strong style="color: {colour}">{icon} {word}</strong> · '
            f"<code>{escape(self.exercise_id)}</code>{name}</div>"
            f'<div style="margin-top: 0.4em">{sentence}</div>{table}{hints}</div>'
        )


def fact_row(label: str, text: str) -> str:
    """One row of the table; what was expected and what came is bold."""
    cell = "padding: 0.1em 1em 0.1em 0; text-align: left; vertical-align: top; white-space: "
    weight = "bold" if label in ("expected", "got") else "normal"
    return (
        f'<tr style="background: none"><th style="{cell}nowrap; font-weight: normal">'
        f'{escape(label)}</th><td style="{cell}pre-wrap; font-family: monospace; '
        f'font-weight: {weight}">{escape(text)}</td></tr>'
    )
