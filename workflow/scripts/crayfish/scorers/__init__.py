"""The scorers: one module a serving tool, discovered from the files here; only the chosen one is imported.

A module holds
    FORMAT      the model format that it (or its server) reads ("onnx", ...), or None if it reads no model
    EXTERNAL    True if it calls a server: crayfish.servers has a module of the same name that runs it
    PROTOCOLS   of an external one: "grpc", "http"; optional, ("grpc",) if missing
    OWN_PROCESS True if it cannot live in a Python that an engine's JVM embeds (Flink's thread execution); optional
    JARS        names of the jar sets (envs/java/NAME.yaml) that it needs; optional
    JVM_OPTIONS what it asks of the one JVM of its process (crayfish.jvm.start(job)); optional
    LIBRARY     other modules of the library that it imports ("scorers/nd4j"), for reruns; optional
    ANSWER      only where every output is this constant, whatever the event (noop)
    Scorer      a context manager made from a Job; __enter__ loads (heavy libraries are imported there, so that the
                module itself can be read anywhere);
                score(batch: float32[n, *input_shape]) -> float32[n, outputs], C order;
                an external one also has `async score_async(batch)`, the same for an event loop: crayfish.remote
                has both, and what a dead server means
"""
