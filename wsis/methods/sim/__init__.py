"""SIM: semantic-aware instance masks for box supervision (Li et al., CVPR 2023).

prototypes.py  Eqs. 1 to 5: class prototypes and the semantic map M_S
pseudo.py      Eqs. 6, 7, 11: the instance map M_I, self-correction, thresholds
bank.py, paste.py   Sec. 3.3: the memory bank and online copy-paste
momentum.py, view.py   Sec. 3.4: the momentum network, and what it sees of a batch
taught.py      Eq. 10: all losses together, on every network
method.py, queries.py   on CondInst's network, and on Mask2Former's
The losses of Eqs. 8 and 9 are in wsis/methods/sim/losses.py, Eq. 3 in wsis/methods/sim/sinkhorn.py.
"""
