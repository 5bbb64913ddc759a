"""The kinds of load: one module a kind, which declares a Load (crayfish.spec.contracts): when events are due, and how
a run of it is driven.

The declarations are read in every environment, so a module imports numpy, Kafka's client and the harness inside its
functions. crayfish.harness.pacing has what the schedules share, crayfish.harness.paced drives an open loop.

`drive(run)` starts what the run needs (broker, server, processor, producer, consumer), proves the path, sends the load,
waits for the predictions and stops the processor. It leaves the segments in run.segments, the counts of predictions in
run.predictions, and producer.parquet and consumer.parquet in run.folder. What all drivers share are methods of
crayfish.harness.run.Run, which stops whatever is still running.
"""
