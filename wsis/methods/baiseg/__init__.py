"""BAISeg: instance boundaries learnt from semantic masks (Wang and Bai, 2024).

method.py  the network with its two branches, Eq. 7's losses, and the instances of an image
maps.py    what instances are extracted from: boundary and semantic map at original size
cascade.py           the modules of Eqs. 2 to 5
boundary_loss.py, contrast.py, semantic_loss.py   Eqs. 1 and 6, and the semantic branch's loss
extract/             from maps to instances (Sec. 3.6)
"""
