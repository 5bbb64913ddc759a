"""The stream processors: one module an engine, discovered from the files here; only the chosen one is imported.

An adapter moves bytes from the input topic through a ScoringOperator to the output topic; it knows nothing of scorers.
Its docstring states its delivery guarantee, what its parallelism N means, and what it buffers. A module holds
    JARS        names of the jar sets (envs/java/NAME.yaml) that it needs
    JAVA        {transport: name of the Java source beside it that a rule compiles into one more jar of its jobs};
                optional
    JAVA_JARS   the jar sets that it is compiled against, if they are not JARS
    JVM_OPTIONS what it asks of the JVM that this process starts (crayfish.jvm); optional
    DELIVERIES  the delivery guarantees that it offers: "at_least_once", "exactly_once"
    EXECUTIONS  its ways to execute, beside "auto": Flink's "thread" and "process", ...; empty if there is one only
    PARALLELISM_MODELS  ("data",) if missing; Flink adds "task"
    ADDRESS             what the address of an engine that is there already is (job.processor_address); missing if it is
                        a library, which always runs where the harness does
    TRANSPORTS          ("kafka",) if missing; "in_engine": it makes the events itself and keeps the predictions, as the
                        files in job.exchange tell it (crayfish.loads.in_engine); `ready` then comes before any event
    ASYNCHRONOUS        whether it offers run.async_calls: it hands the operator several events at once, or has
                        asynchronous operators of its own; False if missing
    refuse(spec) -> str | None      why this engine cannot run this RunSpec, or None
    run(job, stop, ready)           moves events until the threading.Event `stop` is set, then ends cleanly; calls
                                    ready() once, when all N parallel instances are up; raises CrayfishError for what
                                    a user could have caused
The module itself imports the engine inside run(), so that it can be read in any environment. It is started as
`python -m crayfish.worker processors --job FILE` by the engine's own environment.
"""
