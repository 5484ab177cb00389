"""wsis: a reproduction harness for weakly-supervised instance segmentation."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("wsis")  # of the last git tag when it was installed
except PackageNotFoundError:  # sources that nobody installed
    __version__ = "0+unknown"
