"""Snakemake and its jobs are hit, and files between two calls: the same call makes the same results."""
