"""`wsis bench gpu` (`make gpu-check`): what only a graphics card can show, in at most ten minutes."""
