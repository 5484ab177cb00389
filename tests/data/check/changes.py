"""Changes of a COCO root's content, and the kinds of problems that the check finds."""

from __future__ import annotations


def kinds(report):
    return {finding.kind for finding in report.problems}


def first(**values):
    return lambda content: content["annotations"][0].update(values)


def strip(*keys):
    return lambda content: [a.pop(key) for a in content["annotations"] for key in keys]
