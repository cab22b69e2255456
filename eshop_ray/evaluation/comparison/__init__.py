"""Two runs row by row: which rows changed sides, in which slices, and whether the second may replace the first."""
