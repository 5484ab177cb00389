"""Trained runs in use: prediction, evaluation, comparison, export; and checkpoints of others."""
