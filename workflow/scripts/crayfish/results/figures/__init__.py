"""The kinds of figures: one module a kind, which declares a FigureKind (crayfish.spec.contracts).

A figure is drawn from a part of an experiment's table alone; what the kinds share is in crayfish.results.plots.
"""
