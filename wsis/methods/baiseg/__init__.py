"""BAISeg: instance boundaries learnt from semantic masks (Wang and Bai, 2024).

method.py  the network with its two branches, Eq. 7's losses, and the instances of an image
maps.py    what instances are extracted from: boundary and semantic map at original size
The modules of Eqs. 2 to 5 are in wsis/nn/cascade.py, the losses of Eqs. 1 and 6 in wsis/losses/{boundary,
contrast}.py, the mask extraction pipeline (Sec. 3.6) in wsis/extract/.
"""
