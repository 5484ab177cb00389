"""OCRNet: semantic segmentation with object-contextual representations (Yuan et al., ECCV 2020).

It is no instance segmentation: another method learns from its semantic maps (`Info.teacher`).

context.py  the head of Eqs. 1 to 5
method.py   the network, its two losses, and the semantic map of an image, one mask a class
"""
