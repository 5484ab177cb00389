"""Proxy masks: masks that a trained network makes for the boxes of the training images (BoxCaseg, Sec. 3.4).

`generate` writes and reads the raw masks, one image a line; `merge` and `agreement` decide contested pixels
and which masks are kept; `annotations` writes what a Mask R-CNN trains on. No torch here.
"""
