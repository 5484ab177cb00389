"""wsis: a reproduction harness for weakly-supervised instance segmentation."""

__version__ = "0.1.0"
