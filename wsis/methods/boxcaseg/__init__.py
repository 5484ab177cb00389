"""BoxCaseg's first stage: class-agnostic masks for given boxes (Wang et al., CVPR 2021).

method.py     the network with its three heads, and the losses of Eqs. 1 to 4
box_masks.py  from its logits on object patches to masks of an image's boxes
The losses are in wsis/methods/boxcaseg/losses.py, the heads in wsis/methods/boxcaseg/heads.py.
"""
