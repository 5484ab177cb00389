"""BoxCaseg's first stage: class-agnostic masks for given boxes (Wang et al., CVPR 2021).

method.py     the network with its three heads, and the losses of Eqs. 1 to 4
heads.py, losses.py  the three heads and their losses
box_masks.py  from its logits on object patches to masks of an image's boxes
"""
