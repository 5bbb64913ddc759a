"""The servers of the external scorers: one module a server, named as its scorer; only the chosen one is imported.

A module holds
    STARTS                  modules of this library that it starts without importing them; optional
    run(job, stop, ready)   serves the model of job.model_path on the loopback with job.spec.parallelism workers until
                            the threading.Event `stop` is set, then ends cleanly. It calls ready(address="host:port",
                            or "unix:/path") once all workers are up, found out by asking the server; what stands in
                            for the official product adds substitute="tf_serving (in-repo server)"; version="..." is
                            noted in the manifest. Where job.server_address is given, it listens there: a server that
                            is started again after its failure keeps its address. CrayfishError for what a user could
                            have caused.
It is started as `python -m crayfish.worker servers --job FILE` by its own environment, envs/NAME.yaml. What it prints
is the stage's log; its scratch folder is job.workdir. The module imports heavy libraries inside run(), so that it can
be read in any environment. A file whose name starts with "_" is no server.
"""
