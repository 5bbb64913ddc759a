"""How a run is driven: one module a way; RunSpec.driver names it, and only that one is imported.

`drive(run)` starts what the run needs (broker, server, processor, producer, consumer), proves the path, sends the load,
waits for the predictions and stops the processor. It leaves the segments in run.segments, the counts of predictions in
run.received, and producer.parquet and consumer.parquet in run.folder. What all of them share are methods of
crayfish.execution.Run, which stops whatever is still running.
"""
