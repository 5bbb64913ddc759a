"""The servers of the external scorers: one module a server, named as its scorer, which declares a Server
(crayfish.spec.contracts).

It is started as `python -m crayfish.engine.worker servers --job FILE` by its own environment, envs/NAME.yaml; what it
prints is the stage's log. Heavy libraries are imported inside run(), so that the declaration can be read in any
environment. A file whose name starts with "_" is no server.
"""
