"""The Flink job: KafkaSource -> scoring -> KafkaSink, or the two of FlinkInEngine.java in their places."""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING

from crayfish.engine import batches, kafka
from crayfish.engine.scoring import ScoringOperator, events_at_once

if TYPE_CHECKING:
    from typing import Any

    import pandas
    from pyflink.datastream import DataStream, StreamExecutionEnvironment

    from crayfish.spec.run_spec import Job

GATHERED_EVENTS, GATHERED_BYTES = 1000, 16 * 1024 * 1024
HEAD, COUNT = "<qi", "<i"  # of a block and of its predictions: see FlinkBatching.java
SHADED = "org.apache.flink.kafka.shaded."  # before the names of the Kafka inside Flink's connector


def gathered_events(job: Job) -> int:
    """How many events a poll of the source or a bundle may hold."""
    return events_at_once(job, GATHERED_EVENTS, GATHERED_BYTES)


def bundle_size(job: Job) -> int:
    """How many elements a bundle may hold: events, or blocks of them."""
    return max(1, gathered_events(job) // max(1, job.spec.engine_batch_max))


def build(environment: StreamExecutionEnvironment, job: Job) -> None:
    """Build the job's topology in the environment."""
    from pyflink.common import Types, WatermarkStrategy

    source, sink = _source_and_sink(job)
    events = environment.from_source(
        source, WatermarkStrategy.no_watermarks(), "events", Types.PRIMITIVE_ARRAY(Types.BYTE())
    )
    if job.spec.engine_batch_max:
        scored = _score_gathered(events, job)
    elif job.spec.scoring == "vectorised":
        scored = _score_together(events, job, environment)
    elif job.spec.async_calls:
        scored = _score_asynchronously(events, job)
    else:
        scored = _score_each(events, job)
    written = scored.sink_to(sink)
    if job.spec.parallelism_model == "task":
        events.set_parallelism(job.spec.partitions)
        written.set_parallelism(job.spec.partitions)


# --- source and sink -------------------------------------------------------------------------------------------------


def _source_and_sink(job: Job) -> tuple[object, object]:
    """The two ends of the job, both of bytes."""
    if job.spec.transport == "kafka":
        return _source(job), _sink(job)
    from pyflink.datastream.connectors.base import Sink, Source
    from pyflink.java_gateway import get_gateway

    java, folder = get_gateway().jvm.crayfish.FlinkInEngine, str(job.exchange)
    return Source(java.events(folder, job.spec.codec, job.spec.partitions)), Sink(java.predictions(folder))


def source_settings(job: Job) -> dict[str, object]:
    """Of the KafkaSource's consumer; what is not here is Kafka's default."""
    return {
        **kafka.java_broker(job, SHADED),
        **kafka.JAVA_CLIENT,
        **kafka.java_consumer(job),
        "commit.offsets.on.checkpoint": "true",
        "partition.discovery.interval.ms": 10_000,  # also how the engine notices that the broker is gone
        "max.poll.records": max(gathered_events(job), job.spec.engine_batch_max),
    }


def sink_settings(job: Job) -> dict[str, object]:
    """Of the KafkaSink's producer; what is not here is Kafka's default."""
    return {
        **kafka.java_broker(job, SHADED),
        **kafka.JAVA_CLIENT,
        **kafka.java_producer(job),
        "transaction.timeout.ms": 600_000,  # a broker allows 900 000
    }


def record_clients(job: Job) -> None:
    """Note for the manifest what the clients of the job take these settings for."""
    from pyflink.java_gateway import get_gateway

    def java(name: str) -> Any:
        return functools.reduce(getattr, name.split("."), get_gateway().jvm)

    reads = {**source_settings(job), "group.id": job.group, "enable.auto.commit": "false"}
    for kind, settings in (("consumer", reads), ("producer", sink_settings(job))):
        kafka.record(job, f"processor {kind}", kafka.java_effective(java, kind, settings, SHADED))


def _source(job: Job) -> object:
    from pyflink.common.serialization import ByteArraySchema
    from pyflink.datastream.connectors.kafka import KafkaOffsetResetStrategy, KafkaOffsetsInitializer, KafkaSource

    builder = KafkaSource.builder().set_bootstrap_servers(job.bootstrap_servers).set_topics(job.input_topic)
    for name, value in source_settings(job).items():
        builder.set_property(name, str(value))
    earliest = KafkaOffsetsInitializer.committed_offsets(KafkaOffsetResetStrategy.EARLIEST)
    builder.set_group_id(job.group).set_starting_offsets(earliest).set_value_only_deserializer(ByteArraySchema())
    return builder.build()


def _sink(job: Job) -> object:
    from pyflink.common.serialization import ByteArraySchema
    from pyflink.datastream.connectors.base import DeliveryGuarantee
    from pyflink.datastream.connectors.kafka import KafkaRecordSerializationSchema, KafkaSink

    builder = KafkaSink.builder().set_bootstrap_servers(job.bootstrap_servers)
    for name, value in sink_settings(job).items():
        builder.set_property(name, str(value))
    records = KafkaRecordSerializationSchema.builder().set_topic(job.output_topic)
    builder.set_record_serializer(records.set_value_serialization_schema(ByteArraySchema()).build())
    builder.set_delivery_guarantee(DeliveryGuarantee[job.spec.delivery.upper()])
    return builder.set_transactional_id_prefix(job.group).build()


# --- operators -------------------------------------------------------------------------------------------------------


class Scoring:
    """The life cycle that Flink's functions share: a ScoringOperator from open() to close().

    Flink pickles a function where the job is built, and opens it in every instance.
    """

    _loaded = False

    def __init__(self, job: Job):
        self._job = job

    def open(self, context: object) -> None:
        self.operator = ScoringOperator(self._job).__enter__()
        self._loaded = True

    def close(self) -> None:
        if self._loaded:  # Flink also closes what failed to open
            self.operator.__exit__(None, None, None)


def _score_each(events: DataStream, job: Job) -> DataStream:
    """One call of Python per event."""
    from pyflink.common import Types
    from pyflink.datastream import ProcessFunction

    class Score(Scoring, ProcessFunction):
        def open(self, context: object) -> None:
            super().open(context)
            self.score = self.operator.score_event

        def process_element(self, event: bytes, context: object) -> tuple[bytes]:
            return (self.score(event),)

    return events.process(Score(job), output_type=Types.PRIMITIVE_ARRAY(Types.BYTE())).name("score")


def _score_asynchronously(events: DataStream, job: Job) -> DataStream:
    """At most `async_calls` requests to the server are in flight."""
    from pyflink.common import Time, Types
    from pyflink.datastream import AsyncDataStream, AsyncFunction

    class Score(Scoring, AsyncFunction):
        async def async_invoke(self, event: bytes) -> list[bytes]:
            return [await self.operator.score_event_async(event)]

    # With a deadline of its own the operator would start a thread for each event; the client has deadlines.
    none, output = Time.milliseconds(0), Types.PRIMITIVE_ARRAY(Types.BYTE())
    return AsyncDataStream.unordered_wait(events, Score(job), none, job.spec.async_calls, output)


def _score_gathered(events: DataStream, job: Job) -> DataStream:
    """One call of Python per block of events, which FlinkBatching.java makes and cuts apart."""
    from pyflink.common import Types
    from pyflink.datastream import DataStream, ProcessFunction
    from pyflink.java_gateway import get_gateway

    class Score(Scoring, ProcessFunction):
        def process_element(self, block: bytes, context: object) -> tuple[bytes]:
            waited_us, count = struct.unpack_from(HEAD, block)
            events = batches.unpack(memoryview(block)[struct.calcsize(HEAD) :], count)
            return (struct.pack(COUNT, count) + batches.pack(self.operator.score_events(events, waited_us)),)

    java = get_gateway().jvm.crayfish.FlinkBatching
    blocks = java.gathered(events._j_data_stream, job.spec.engine_batch_max, batches.wait_ms(job.spec))
    output = Types.PRIMITIVE_ARRAY(Types.BYTE())
    packed = DataStream(blocks).process(Score(job), output_type=output).name("score")
    return DataStream(java.apart(packed._j_data_stream))


def _score_together(events: DataStream, job: Job, environment: StreamExecutionEnvironment) -> DataStream:
    """One call of Python per Arrow batch of events, by the Table API: Flink's own way to hand over several."""
    import pandas
    from pyflink.datastream import DataStream
    from pyflink.java_gateway import get_gateway
    from pyflink.table import DataTypes, StreamTableEnvironment
    from pyflink.table.expressions import col
    from pyflink.table.udf import ScalarFunction, udf

    class Score(Scoring, ScalarFunction):
        def eval(self, events: pandas.Series) -> pandas.Series:
            return pandas.Series(self.operator.score_events(list(events)))

    tables = StreamTableEnvironment.create(environment)
    score = udf(Score(job), result_type=DataTypes.BYTES(), func_type="pandas")
    scored = tables.from_data_stream(events).select(score(col("f0")))
    types = get_gateway().jvm.org.apache.flink.table.api.DataTypes
    return DataStream(tables._j_tenv.toDataStream(scored._j_table, types.BYTES().notNull()))
