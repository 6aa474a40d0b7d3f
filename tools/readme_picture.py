"""Draw the README's picture: the models of lessons 1 and 2 on the same data, as they train there.

python tools/readme_picture.py
"""

from pathlib import Path

from lessons_lib.bahdanau_attention import AttentionEncoderDecoder
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
    sizes = len(task.src_vocab), len(task.tgt_vocab)
    src, tgt = task.test
    by_length = {}
    for name, kind, d_embed, lr in (
        ("attention (lesson 2)", AttentionEncoderDecoder, 56, 7e-3),
        ("one vector (lesson 1)", EncoderDecoder, 64, 1e-2),
    ):
        seed_everything(0)
        model = kind(*sizes, d_embed=d_embed)
        train(model, task, steps=400, lr=lr)
        by_length[name] = mean_by_length(exact_match(greedy_decode(model, src), tgt), src)
    title = "Numbers translated without a single error"
    picture = figures.by_length(by_length, title, alt="")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(picture.png())


if __name__ == "__main__":
    main()
