"""BAISeg's mask extraction pipeline (Sec. 3.6): boundary map and semantic map -> instances."""
