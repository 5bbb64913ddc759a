"""The kinds of figures: one module a kind, which declares a FigureKind (crayfish.spec.contracts).

A figure is drawn from one part of an experiment's table; what the kinds share is in crayfish.results.plots.
"""
