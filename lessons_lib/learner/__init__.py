"""The learner's own files, in the folder work/: what is solved, and how notebooks are renewed.

Nothing here imports torch or the lessons: the commands answer at once, and `check` can record its
verdicts.
"""
