"""Mask R-CNN (He et al., ICCV 2017) of torchvision, trained on boxes and on the masks that there are.

layout.py     sizes of anchors, samples and heads, full-size and tiny
backbone.py   normalisation, backbone and FPN under the names that torchvision's heads expect
proposals.py  the region proposal network
roi_heads.py  box and mask heads; a dropped mask is out of the mask loss only
paste.py      RoI masks to run-length codes of the original image
method.py     losses and inference
"""
