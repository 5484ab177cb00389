"""Mask2Former's network (Cheng et al., CVPR 2022), for methods that learn its masks from boxes.

network.py    backbone, pixel decoder and transformer decoder, the latter two of the package transformers
matching.py   which query stands for which object
method.py     the class loss, and what methods on this network share
inference.py  from queries to instances
"""
