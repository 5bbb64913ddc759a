"""The stream processors: one module (or package) an engine, which declares a Processor (crayfish.spec.contracts).

An adapter moves bytes from the input topic through a ScoringOperator to the output topic; it knows nothing of scorers.
Its docstring states its delivery guarantee, what its parallelism N means, and what it buffers. The engine is imported
inside run(), so that the declaration can be read in any environment. It is started as
`python -m crayfish.engine.worker processors --job FILE` by the engine's own environment.
"""
