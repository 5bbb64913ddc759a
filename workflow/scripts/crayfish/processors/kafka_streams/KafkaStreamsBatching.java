/* The Java side of the adapter beside it: gathers records and crosses into Python once a batch instead of once a record.
 *
 * Promises. A batch is flushed as soon as everything that the last poll handed over for its partition has been processed,
 * or when it is full: no timer delays it. No offset is committed while its record sits in a batch: Kafka Streams flushes the
 * caches of a task's stores before it commits, so the batch hangs on a store that says it is one (CommitHook). A batch
 * that is open when its task closes is dropped: its offsets were not committed, so its records are read again.
 * One object serves one process with one stream thread.
 */
package crayfish;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerInterceptor;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
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
    /** Python's part. A buffer holds `count` lengths (int32, little-endian), then as many values one after the other. */
    public interface Scorer {
        ByteBuffer score(ByteBuffer events, int count);
    }

    /** The key of the consumer's configuration under which Polled finds its KafkaStreamsBatching. */
    public static final String CONFIG = "crayfish.batching";

    private static final String STORE = "batch";

    private final Scorer scorer;
    private final int maxRecords;
    private final int maxBytes;
    private final Map<Integer, Long> lastPolled = new HashMap<>();
    private ByteBuffer events;

    /** A batch is full at maxRecords records or maxBytes bytes of values; a single larger record is a batch of its own. */
    public KafkaStreamsBatching(Scorer scorer, int maxRecords, int maxBytes) {
        this.scorer = scorer;
        this.maxRecords = maxRecords;
        this.maxBytes = maxBytes;
        this.events = allocate(4 * maxRecords + maxBytes);
    }

    /** input topic -> batches -> output topic; keys, timestamps and headers are carried on. */
    public Topology topology(String input, String output) {
        return new Topology()
            .addSource("input", new ByteArrayDeserializer(), new ByteArrayDeserializer(), input)
            .addProcessor("score", new Supplier(), "input")
            .addSink("output", output, new ByteArraySerializer(), new ByteArraySerializer(), "score");
    }

    private static ByteBuffer allocate(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private ByteBuffer score(List<Record<byte[], byte[]>> records, int bytes) {
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
        return scorer.score(events, records.size()).order(ByteOrder.LITTLE_ENDIAN);
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

    /** One task's batch. */
    private final class Batcher implements Processor<byte[], byte[], byte[], byte[]> {
        private final List<Record<byte[], byte[]>> records = new ArrayList<>();
        private int bytes;
        private InternalProcessorContext<byte[], byte[]> context;
        private ProcessorNode<?, ?, ?, ?> node;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = (InternalProcessorContext<byte[], byte[]>) context;
            node = this.context.currentNode();
            CommitHook hook = context.getStateStore(STORE);
            hook.flush = this::flushBeforeCommit;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            byte[] value = record.value() == null ? new byte[0] : record.value();
            if (bytes + value.length > maxBytes) {
                flush();
            }
            records.add(record.withValue(value));
            bytes += value.length;
            var position = context.recordMetadata().get();
            if (records.size() >= maxRecords || position.offset() >= lastPolled.get(position.partition())) {
                flush();
            }
        }

        /** Outside of process() nobody has said yet on whose behalf records are forwarded. */
        private void flushBeforeCommit() {
            ProcessorNode<?, ?, ?, ?> previous = context.currentNode();
            context.setCurrentNode(node);
            try {
                flush();
            } finally {
                context.setCurrentNode(previous);
            }
        }

        private void flush() {
            if (records.isEmpty()) {
                return;
            }
            ByteBuffer predictions = score(records, bytes);
            int start = 4 * records.size();
            for (int i = 0; i < records.size(); i++) {
                byte[] value = new byte[predictions.getInt(4 * i)];
                predictions.get(start, value);
                start += value.length;
                context.forward(records.get(i).withValue(value));
            }
            clear();
        }

        private void clear() {
            records.clear();
            bytes = 0;
        }

        @Override
        public void close() {
            clear();
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
