"""Runs in a results folder: where they lie, how they are named, verified, shared and merged."""
