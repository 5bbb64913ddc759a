"""The scorers: one module a serving tool, which declares a Scorer (crayfish.spec.contracts).

Heavy libraries are imported when a scorer is opened, so that the declaration can be read in any environment. What the
clients of external servers share is in crayfish.engine.remote.
"""
