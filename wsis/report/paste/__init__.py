"""Tables to paste into a paper or an issue, in four variants, as LaTeX and as Markdown.

A variant is a choice of numbers for a column of the paper's: what was measured, what is published, both, or
the effects of both.
"""
