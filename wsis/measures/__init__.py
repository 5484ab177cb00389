"""Measures: numbers that no training's metrics hold, each found in one pass over weights, masks or a recipe.

measure.py    what a measure is, and a set of measures that one pass finds together
registry.py   all of them, as the methods declare them in wsis/methods/<name>/measures.py
wanted.py     what tables want measured, and what of it is to be done
file.py       results/<scale>/measures/<set>/<key>.json: the one format, its reader and its writer
"""
