"""Proxy masks: masks of the training images by a trained network, from which another one learns.

`generate` writes and reads the raw masks, one image a line; `folder` finds those of a run; `merge` and
`agreement` decide contested pixels and which masks are kept (BoxCaseg, Sec. 3.4); `annotations` is what a
network then trains on. No torch here.
"""
