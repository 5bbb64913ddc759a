/* The Java side of the adapter beside it: gathers records and crosses into Python once a batch instead of once a record.
 *
 * Promises. Each task has a batch of its own, which is flushed as soon as everything that the last poll handed over for
 * its partition has been processed, or when it is full: no timer delays it. Where batches wait, all tasks share one: it
 * is flushed when it is full, or at the first poll after its first record has waited long enough, and no poll takes
 * longer than that.
 * No offset is committed while its record sits in a batch: Kafka Streams flushes the caches of a task's stores before it
 * commits, so the batch hangs on a store that says it is one (CommitHook). What a batch holds of a task that closes is
 * dropped: its offsets were not committed, so its records are read again.
 * One object serves one process with one stream thread.
 */
package crayfish;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerInterceptor;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KafkaClientSupplier;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.StateStoreContext;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.internals.InternalProcessorContext;
import org.apache.kafka.streams.processor.internals.ProcessorNode;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.internals.CacheFlushListener;
import org.apache.kafka.streams.state.internals.CachedStateStore;

public final class KafkaStreamsBatching {
    /** Python's part. A buffer holds `count` lengths (int32, little-endian), then as many values one after the other.
     * waitedMicros: since the first of them came. */
    public interface Scorer {
        ByteBuffer score(ByteBuffer events, int count, long waitedMicros);
    }

    /** The key of the consumer's configuration under which Polled finds its KafkaStreamsBatching. */
    public static final String CONFIG = "crayfish.batching";

    private static final String STORE = "batch";
    private static final int BUFFER_BYTES = 4 * 1024 * 1024; // of the events, at first

    private final Scorer scorer;
    private final int maxRecords;
    private final int maxBytes;
    private final long waitNanos;
    private final Batch shared;
    private final Map<Integer, Long> lastPolled = new HashMap<>();
    private ByteBuffer events = allocate(BUFFER_BYTES);

    /**
     * A batch is full at maxRecords records or maxBytes bytes of values; a single larger record is a batch of its own.
     * waitMillis: how long a batch that all tasks share waits for more; 0: it takes what has been polled; negative: none
     * is shared.
     */
    public KafkaStreamsBatching(Scorer scorer, int maxRecords, int maxBytes, long waitMillis) {
        this.scorer = scorer;
        this.maxRecords = maxRecords;
        this.maxBytes = maxBytes;
        waitNanos = 1_000_000 * waitMillis;
        shared = waitMillis < 0 ? null : new Batch();
    }

    /** input topic -> batches -> output topic; keys, timestamps and headers are carried on. */
    public Topology topology(String input, String output) {
        return new Topology()
            .addSource("input", new ByteArrayDeserializer(), new ByteArrayDeserializer(), input)
            .addProcessor("score", new Supplier(), "input")
            .addSink("output", output, new ByteArraySerializer(), new ByteArraySerializer(), "score");
    }

    /** Kafka Streams on this topology, with this object's consumer where batches are shared. */
    public KafkaStreams streams(Topology topology, Properties properties) {
        return shared == null ? new KafkaStreams(topology, properties) : new KafkaStreams(topology, properties, new Clients());
    }

    private static ByteBuffer allocate(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Records that will be scored together, each with the task that it came by. */
    private final class Batch {
        private final List<Record<byte[], byte[]>> records = new ArrayList<>();
        private final List<Batcher> owners = new ArrayList<>();
        private int bytes;
        private long began;

        void add(Record<byte[], byte[]> record, Batcher owner) {
            if (bytes + record.value().length > maxBytes) {
                flush();
            }
            if (records.isEmpty()) {
                began = System.nanoTime();
            }
            records.add(record);
            owners.add(owner);
            bytes += record.value().length;
        }

        boolean full() {
            return records.size() >= maxRecords;
        }

        /** How long it still waits; of an empty one, for ever. */
        long leftNanos() {
            return records.isEmpty() ? Long.MAX_VALUE : Math.max(0, began + waitNanos - System.nanoTime());
        }

        void flush() {
            if (records.isEmpty()) {
                return;
            }
            ByteBuffer predictions = scorer.score(packed(), records.size(), (System.nanoTime() - began) / 1000);
            predictions.order(ByteOrder.LITTLE_ENDIAN);
            int start = 4 * records.size();
            for (int i = 0; i < records.size(); i++) {
                byte[] value = new byte[predictions.getInt(4 * i)];
                predictions.get(start, value);
                start += value.length;
                owners.get(i).forward(records.get(i).withValue(value));
            }
            records.clear();
            owners.clear();
            bytes = 0;
        }

        private ByteBuffer packed() {
            int needed = 4 * records.size() + bytes;
            if (events.capacity() < needed) {
                events = allocate(needed);
            }
            events.clear();
            for (Record<byte[], byte[]> record : records) {
                events.putInt(record.value().length);
            }
            for (Record<byte[], byte[]> record : records) {
                events.put(record.value());
            }
            return events;
        }

        void drop(Batcher owner) {
            for (int i = records.size() - 1; i >= 0; i--) {
                if (owners.get(i) == owner) {
                    owners.remove(i);
                    bytes -= records.remove(i).value().length;
                }
            }
        }
    }

    /** The usual clients, but for a main consumer that waits no longer than the shared batch does. */
    private final class Clients implements KafkaClientSupplier {
        @Override
        public Consumer<byte[], byte[]> getConsumer(Map<String, Object> config) {
            return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer()) {
                @Override
                public ConsumerRecords<byte[], byte[]> poll(Duration timeout) {
                    long left = shared.leftNanos();
                    if (left == 0) {
                        shared.flush();
                        left = Long.MAX_VALUE;
                    }
                    long millis = left / 1_000_000 + 1; // its poll takes whole milliseconds
                    return super.poll(millis < timeout.toMillis() ? Duration.ofMillis(millis) : timeout);
                }
            };
        }

        @Override
        public Consumer<byte[], byte[]> getRestoreConsumer(Map<String, Object> config) {
            return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        }

        @Override
        public Consumer<byte[], byte[]> getGlobalConsumer(Map<String, Object> config) {
            return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        }

        @Override
        public Producer<byte[], byte[]> getProducer(Map<String, Object> config) {
            return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
        }

        @Override
        public Admin getAdmin(Map<String, Object> config) {
            return Admin.create(config);
        }
    }

    /** Notes, for each partition, the last offset that a poll handed over. */
    public static final class Polled implements ConsumerInterceptor<byte[], byte[]> {
        private Map<Integer, Long> lastPolled;

        @Override
        public void configure(Map<String, ?> configs) {
            lastPolled = ((KafkaStreamsBatching) configs.get(CONFIG)).lastPolled;
        }

        @Override
        public ConsumerRecords<byte[], byte[]> onConsume(ConsumerRecords<byte[], byte[]> records) {
            for (TopicPartition partition : records.partitions()) {
                var polled = records.records(partition);
                lastPolled.put(partition.partition(), polled.get(polled.size() - 1).offset());
            }
            return records;
        }

        @Override
        public void onCommit(Map<TopicPartition, OffsetAndMetadata> offsets) {}

        @Override
        public void close() {}
    }

    private final class Supplier implements ProcessorSupplier<byte[], byte[], byte[], byte[]> {
        private final Set<StoreBuilder<?>> stores = Set.of(new CommitHookBuilder());

        @Override
        public Processor<byte[], byte[], byte[], byte[]> get() {
            return new Batcher();
        }

        @Override
        public Set<StoreBuilder<?>> stores() {
            return stores;
        }
    }

    /** One task: it puts its records into a batch, and hands on the predictions. */
    private final class Batcher implements Processor<byte[], byte[], byte[], byte[]> {
        private final Batch batch = shared == null ? new Batch() : shared;
        private InternalProcessorContext<byte[], byte[]> context;
        private ProcessorNode<?, ?, ?, ?> node;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = (InternalProcessorContext<byte[], byte[]>) context;
            node = this.context.currentNode();
            CommitHook hook = context.getStateStore(STORE);
            hook.flush = batch::flush;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            batch.add(record.value() == null ? record.withValue(new byte[0]) : record, this);
            if (batch.full() || due()) {
                batch.flush();
            }
        }

        /** A shared batch that takes what has been polled is due at the next poll. */
        private boolean due() {
            if (shared != null) {
                return waitNanos > 0 && batch.leftNanos() == 0;
            }
            var position = context.recordMetadata().get();
            return position.offset() >= lastPolled.get(position.partition());
        }

        /** Outside of its process() nobody has said yet on whose behalf it forwards. */
        void forward(Record<byte[], byte[]> prediction) {
            ProcessorNode<?, ?, ?, ?> previous = context.currentNode();
            context.setCurrentNode(node);
            try {
                context.forward(prediction);
            } finally {
                context.setCurrentNode(previous);
            }
        }

        @Override
        public void close() {
            batch.drop(this);
        }
    }

    /** A store without content, whose cache is the batch: StreamTask.prepareCommit flushes it, then the producer. */
    private static final class CommitHook implements StateStore, CachedStateStore<byte[], byte[]> {
        private Runnable flush = () -> {};
        private boolean open;

        @Override
        public String name() {
            return STORE;
        }

        @Override
        public void init(StateStoreContext context, StateStore root) {
            context.register(root, (key, value) -> {});
            open = true;
        }

        @Override
        public void flushCache() {
            flush.run();
        }

        @Override
        public void clearCache() {}

        @Override
        public boolean setFlushListener(CacheFlushListener<byte[], byte[]> listener, boolean sendOldValues) {
            return false;
        }

        @Override
        public void close() {
            open = false;
        }

        @Override
        public boolean persistent() {
            return false;
        }

        @Override
        public boolean isOpen() {
            return open;
        }
    }

    /** Makes one CommitHook a task; without a changelog, so that tasks stay stateless and start at once. */
    private static final class CommitHookBuilder implements StoreBuilder<CommitHook> {
        @Override
        public StoreBuilder<CommitHook> withCachingEnabled() {
            return this;
        }

        @Override
        public StoreBuilder<CommitHook> withCachingDisabled() {
            return this;
        }

        @Override
        public StoreBuilder<CommitHook> withLoggingEnabled(Map<String, String> config) {
            throw new UnsupportedOperationException("a batch has no changelog");
        }

        @Override
        public StoreBuilder<CommitHook> withLoggingDisabled() {
            return this;
        }

        @Override
        public CommitHook build() {
            return new CommitHook();
        }

        @Override
        public Map<String, String> logConfig() {
            return Map.of();
        }

        @Override
        public boolean loggingEnabled() {
            return false;
        }

        @Override
        public String name() {
            return STORE;
        }
    }
}
