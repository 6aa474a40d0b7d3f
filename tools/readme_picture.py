"""Draw the README's picture from lesson 1's own model and data.

python tools/readme_picture.py
"""

from pathlib import Path

from lessons_lib.decoding import greedy_decode
from lessons_lib.kit import figures
from lessons_lib.kit.metrics import exact_match, mean_by_length
from lessons_lib.kit.seeding import seed_everything
from lessons_lib.kit.tasks import number_words
from lessons_lib.kit.training import train
from lessons_lib.rnn_bottleneck import EncoderDecoder

PICTURE = Path(__file__).resolve().parents[1] / ".github" / "exact_match_by_length.png"


def main() -> None:
    task = number_words()
    seed_everything(0)
    model = EncoderDecoder(len(task.src_vocab), len(task.tgt_vocab))
    train(model, task, steps=400, lr=1e-2)
    src, tgt = task.test
    by_length = mean_by_length(exact_match(greedy_decode(model, src), tgt), src)
    title = "Lesson 1: a memory of one vector gets short numbers right, long ones wrong"
    picture = figures.by_length({"GRU encoder–decoder": by_length}, title, alt="")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(picture.png())


if __name__ == "__main__":
    main()
