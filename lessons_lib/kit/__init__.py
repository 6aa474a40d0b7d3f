"""Furniture of the course: seeding, vocabulary, tasks, training, metrics, figures, argument checks.

Nothing here is about attention. The lessons use these helpers and explain them once, in lesson 0.
"""
