"""Processes that are killed, files that are damaged: the same commands again give the same results."""
