"""The scorers: one module a serving tool, discovered from the files here; only the chosen one is imported.

A module holds
    FORMAT      the model format that it reads ("onnx", ...), or None if it reads no model
    EXTERNAL    True if it calls a server (crayfish.servers has a module of the same name)
    ANSWER      only where every output is this constant, whatever the event (noop)
    Scorer      a context manager made from a Job; __enter__ loads (heavy libraries are imported there, so that the
                module itself can be read anywhere);
                score(batch: float32[n, *input_shape]) -> float32[n, outputs], C order
"""
