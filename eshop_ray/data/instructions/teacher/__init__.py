"""Rows that a model makes from rows that the sources have given: new questions, reasoning, translations."""
