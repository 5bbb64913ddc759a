/* The Java side of runs without Kafka: a source that makes the events, a sink that keeps the predictions.
 *
 * Both hand over and take byte[], as KafkaSource and KafkaSink do, so the border to Python is crossed as often and costs
 * as much as with Kafka. Files and their layout are those of crayfish/harness/in_engine.py; all times are System.nanoTime(), which
 * on Linux is the clock of Python's time.monotonic_ns.
 * The source is open loop: a thread of its own releases each event when it is due and notes when it did, whatever the
 * job does meanwhile; what the job cannot take yet waits as a number, its bytes are made when the job asks for it.
 * Nothing is restored: a job that fails is not started again, so each event is made once.
 */
package crayfish;

import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.LongBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

public final class FlinkInEngine {
    private static final long SPIN_NANOS = 100_000; // sleep until this long before an event is due, then spin
    private static final long POLL_MILLIS = 5;
    private static final int BUFFER_BYTES = 64 * 1024;

    private FlinkInEngine() {}

    /** The source of a job whose exchange folder this is; of N instances, instance i makes what partitions i, i + N, ... hold. */
    public static Source<byte[], ?, ?> events(String folder, String codec, int partitions) {
        return new Events(folder, codec.equals("json"), partitions);
    }

    /** The sink of the same job. */
    public static Sink<byte[]> predictions(String folder) {
        return context -> new Predictions(Path.of(folder), context.getTaskInfo().getIndexOfThisSubtask());
    }

    /** One segment file, and of it the events of one instance. */
    private static final class Segment {
        private final boolean json;
        private final int points;
        private final long first;
        private final int flags;
        private final long[] ends;
        private final LongBuffer offsets;
        private final ByteBuffer bodies;
        private final long startWall;
        private final long startNanos;
        private final int[] own;
        private final long[] sent;
        private volatile int released;
        private int emitted;

        Segment(Path file, String start, boolean json, int partitions, int instance, int instances) throws IOException {
            this.json = json;
            String[] times = start.trim().split(" ");
            startWall = Long.parseLong(times[0]);
            startNanos = Long.parseLong(times[1]);
            ByteBuffer content;
            try (FileChannel channel = FileChannel.open(file)) {
                content = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size());
            }
            points = (int) content.getLong();
            ends = new long[(int) content.getLong() + 1];
            int events = (int) content.getLong();
            first = content.getLong();
            flags = (int) content.getLong();
            content.asLongBuffer().get(ends);
            content.position(content.position() + Long.BYTES * ends.length);
            offsets = content.slice(content.position(), Long.BYTES * events).asLongBuffer();
            bodies = content.slice(content.position() + Long.BYTES * events, (int) ends[ends.length - 1]);
            own = IntStream.range(0, events).filter(n -> (first + n) % partitions % instances == instance).toArray();
            sent = new long[own.length];
        }

        /** Releases all events that are due now; whether there were any. */
        boolean release() {
            int next = released;
            long now = System.nanoTime();
            while (next < own.length && dueNanos(next) <= now) {
                sent[next++] = now;
            }
            boolean any = next > released;
            released = next;
            return any;
        }

        private long dueNanos(int index) {
            return startNanos + offsets.get(own[index]);
        }

        byte[] next() {
            int position = own[emitted++];
            long sequence = first + position;
            byte[] head = head(sequence, startWall + offsets.get(position));
            int body = (int) (sequence % (ends.length - 1));
            int length = (int) (ends[body + 1] - ends[body]);
            byte[] event = new byte[head.length + length];
            System.arraycopy(head, 0, event, 0, head.length);
            bodies.get((int) ends[body], event, head.length, length);
            return event;
        }

        /** What crayfish/spec/events.py calls a stamp. */
        private byte[] head(long sequence, long dueNs) {
            if (json) {
                String text = "{\"sequence\":" + sequence + ",\"due_ns\":" + dueNs + ",\"probe\":" + (flags != 0)
                    + ",\"creationTimestamp\":" + dueNs / 1_000_000 + ",";
                return text.getBytes(StandardCharsets.US_ASCII);
            }
            ByteBuffer head = ByteBuffer.allocate(32).order(ByteOrder.LITTLE_ENDIAN);
            head.put((byte) 'C').put((byte) 'R').put((byte) 'A').put((byte) 'Y').put((byte) 1).put((byte) flags);
            return head.putShort((short) 0).putInt(points).putInt(0).putLong(sequence).putLong(dueNs).array();
        }
    }

    /** One instance of the source. Flink's task thread calls all of it but pace(). */
    private static final class Reader implements SourceReader<byte[], Share> {
        private final Events source;
        private final int instance;
        private final int instances;
        private final Thread pacer = new Thread(this::pace, "pacer");
        private final ConcurrentLinkedQueue<Segment> segments = new ConcurrentLinkedQueue<>();
        private CompletableFuture<Void> available = new CompletableFuture<>();
        private volatile Throwable failure;

        Reader(Events source, SourceReaderContext context) {
            this.source = source;
            instance = context.getIndexOfSubtask();
            instances = context.currentParallelism();
        }

        @Override
        public void start() {
            pacer.setDaemon(true);
            pacer.start();
        }

        /** Takes one segment after the other, until it is interrupted: the job ends. */
        private void pace() {
            try {
                for (int number = 0;; number++) {
                    Path file = Path.of(source.folder, "segment-" + number);
                    String start = awaited(Path.of(file + ".start"));
                    Segment segment = new Segment(file, start, source.json, source.partitions, instance, instances);
                    segments.add(segment);
                    release(segment);
                    write(segment.sent, Path.of(source.folder, "sent-" + number + "-" + instance));
                }
            } catch (InterruptedException end) {
                return;
            } catch (IOException | RuntimeException | Error error) {
                failure = error;
                wake();
            }
        }

        private static String awaited(Path file) throws IOException, InterruptedException {
            while (!Files.exists(file)) {
                Thread.sleep(POLL_MILLIS);
            }
            return Files.readString(file);
        }

        private void release(Segment segment) throws InterruptedException {
            while (segment.released < segment.own.length) {
                if (segment.release()) {
                    wake();
                } else {
                    LockSupport.parkNanos(segment.dueNanos(segment.released) - System.nanoTime() - SPIN_NANOS);
                }
                if (Thread.interrupted()) {
                    throw new InterruptedException();
                }
            }
        }

        private static void write(long[] sent, Path file) throws IOException {
            ByteBuffer bytes = ByteBuffer.allocate(Long.BYTES * sent.length);
            bytes.asLongBuffer().put(sent);
            Files.write(file, bytes.array());
        }

        private void wake() {
            CompletableFuture<Void> waiting;
            synchronized (this) {
                waiting = available;
            }
            waiting.complete(null);
        }

        /** The segment of which a released event waits to be taken, or null. */
        private Segment waiting() {
            Segment segment = segments.peek();
            while (segment != null && segment.emitted == segment.own.length) {
                segments.poll();
                segment = segments.peek();
            }
            return segment != null && segment.emitted < segment.released ? segment : null;
        }

        @Override
        public InputStatus pollNext(ReaderOutput<byte[]> output) throws IOException {
            if (failure != null) {
                throw new IOException("the source of events failed: " + failure, failure);
            }
            Segment segment = waiting();
            if (segment != null) {
                output.collect(segment.next());
            }
            return waiting() != null ? InputStatus.MORE_AVAILABLE : InputStatus.NOTHING_AVAILABLE;
        }

        @Override
        public synchronized CompletableFuture<Void> isAvailable() {
            if (available.isDone()) {
                available = new CompletableFuture<>();
            }
            return waiting() != null || failure != null ? CompletableFuture.completedFuture(null) : available;
        }

        @Override
        public List<Share> snapshotState(long checkpoint) {
            return List.of();
        }

        @Override
        public void addSplits(List<Share> splits) {}

        @Override
        public void notifyNoMoreSplits() {}

        @Override
        public void close() {
            pacer.interrupt();
        }
    }

    /** One instance of the sink: a prediction is done when it comes here. Files are whole at a checkpoint and at the end. */
    private static final class Predictions implements SinkWriter<byte[]> {
        private final DataOutputStream done;
        private final DataOutputStream values;

        Predictions(Path folder, int instance) throws IOException {
            done = open(folder.resolve("done-" + instance));
            values = open(folder.resolve("predictions-" + instance));
        }

        private static DataOutputStream open(Path file) throws IOException {
            return new DataOutputStream(new BufferedOutputStream(Files.newOutputStream(file), BUFFER_BYTES));
        }

        @Override
        public void write(byte[] prediction, Context context) throws IOException {
            done.writeLong(System.nanoTime());
            done.writeLong(prediction.length);
            values.write(prediction);
        }

        @Override
        public void flush(boolean endOfInput) throws IOException {
            values.flush();
            done.flush();
        }

        @Override
        public void close() throws IOException {
            values.close();
            done.close();
        }
    }

    /** The source's description; every instance knows its share by its number, so no splits are handed out. */
    private static final class Events implements Source<byte[], Share, Void> {
        private static final long serialVersionUID = 1;

        private final String folder;
        private final boolean json;
        private final int partitions;

        Events(String folder, boolean json, int partitions) {
            this.folder = folder;
            this.json = json;
            this.partitions = partitions;
        }

        @Override
        public Boundedness getBoundedness() {
            return Boundedness.CONTINUOUS_UNBOUNDED;
        }

        @Override
        public SourceReader<byte[], Share> createReader(SourceReaderContext context) {
            return new Reader(this, context);
        }

        @Override
        public SplitEnumerator<Share, Void> createEnumerator(SplitEnumeratorContext<Share> context) {
            return new NoSplits();
        }

        @Override
        public SplitEnumerator<Share, Void> restoreEnumerator(SplitEnumeratorContext<Share> context, Void nothing) {
            return new NoSplits();
        }

        @Override
        public SimpleVersionedSerializer<Share> getSplitSerializer() {
            return new Nothing<>();
        }

        @Override
        public SimpleVersionedSerializer<Void> getEnumeratorCheckpointSerializer() {
            return new Nothing<>();
        }
    }

    /** A split, of which there is none. */
    private interface Share extends SourceSplit {}

    private static final class NoSplits implements SplitEnumerator<Share, Void> {
        @Override
        public void start() {}

        @Override
        public void handleSplitRequest(int instance, String host) {}

        @Override
        public void addSplitsBack(List<Share> splits, int instance) {}

        @Override
        public void addReader(int instance) {}

        @Override
        public Void snapshotState(long checkpoint) {
            return null;
        }

        @Override
        public void close() {}
    }

    private static final class Nothing<T> implements SimpleVersionedSerializer<T> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(T nothing) {
            return new byte[0];
        }

        @Override
        public T deserialize(int version, byte[] bytes) {
            return null;
        }
    }
}
