"""The command `python -m lessons_lib`."""

import sys

HELP = """\
The attention lessons.

Open them, from the folder of the course:   python course.py
Run all their tests:                        python course.py test

`python -m lessons_lib` has no commands yet; it prints this help.
"""


def main(words: list[str]) -> int:
    """Print the help and return 0; for a word that is no command, say so and return 2."""
    if words and words[0] not in ("help", "-h", "--help"):
        print(
            f"No command is called {words[0]!r}: `python course.py --help` lists what there is.",
            file=sys.stderr,
        )
        return 2
    print(HELP, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
