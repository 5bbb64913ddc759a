/* The Java side of run.engine_batch_max: an operator that gathers events, and one that cuts their predictions apart.
 *
 * Both belong round one of Python, in its chain. What lies between them is a block: how many microseconds its first event
 * has waited (int64) and how many values it has (int32), then what crayfish/engine/batches.py packs, all little-endian. A block leaves
 * when it is full, when its first event has waited long enough, or before a checkpoint, whose barrier comes behind it: so
 * no checkpoint covers an event that still waits.
 */
package crayfish;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.operators.MailboxExecutor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.Collector;

public final class FlinkBatching {
    private static final int HEAD_BYTES = Long.BYTES + Integer.BYTES;

    private FlinkBatching() {}

    /** Events to blocks of at most so many, of what comes within waitMillis; 0: of what the source has at hand. */
    public static DataStream<byte[]> gathered(DataStream<byte[]> events, int maxEvents, long waitMillis) {
        var type = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
        return events.transform("gather", type, new Gather(maxEvents, waitMillis));
    }

    /** Packed predictions, their number (int32) before them, to single ones. */
    public static DataStream<byte[]> apart(DataStream<byte[]> packed) {
        return packed.flatMap(new Apart()).name("apart").returns(PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);
    }

    private static ByteBuffer littleEndian(byte[] bytes) {
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static final class Gather extends AbstractStreamOperator<byte[]>
            implements OneInputStreamOperator<byte[], byte[]> {
        private static final long serialVersionUID = 1;

        private final int maxEvents;
        private final long waitMillis;
        private transient List<byte[]> events;
        private transient int bytes;
        private transient long began;
        private transient boolean looking; // whether something will call look() or lookAgain()
        private transient int seen;
        private transient MailboxExecutor mailbox;

        Gather(int maxEvents, long waitMillis) {
            this.maxEvents = maxEvents;
            this.waitMillis = waitMillis;
        }

        @Override
        public void open() throws Exception {
            super.open();
            events = new ArrayList<>();
            mailbox = getContainingTask().getMailboxExecutorFactory().createExecutor(getOperatorConfig().getChainIndex());
        }

        @Override
        public void processElement(StreamRecord<byte[]> record) {
            if (events.isEmpty()) {
                began = System.nanoTime();
            }
            events.add(record.getValue());
            bytes += record.getValue().length;
            if (events.size() >= maxEvents) {
                flush();
            } else if (!looking) {
                looking = true;
                if (waitMillis == 0) {
                    mailbox.execute(this::look, "whether more events have come");
                } else {
                    lookIn(waitMillis);
                }
            }
        }

        /**
         * The task takes a turn each at what its mailbox holds and at the source, which hands over one event: if there
         * was none between two looks, the source has no more at hand.
         */
        private void look() {
            if (events.size() == seen) {
                looking = false;
                flush();
            } else {
                seen = events.size();
                mailbox.execute(this::look, "whether more events have come");
            }
        }

        /** One timer at a time, however many blocks are full before it is over. */
        private void lookIn(long millis) {
            long now = getProcessingTimeService().getCurrentProcessingTime();
            getProcessingTimeService().registerTimer(now + millis - 1, time -> lookAgain()); // it adds 1 ms
        }

        private void lookAgain() {
            long leftNanos = events.isEmpty() ? 0 : began + 1_000_000 * waitMillis - System.nanoTime();
            if (leftNanos > 0) {
                lookIn((leftNanos + 999_999) / 1_000_000);
            } else {
                looking = false;
                flush();
            }
        }

        private void flush() {
            if (events.isEmpty()) {
                return;
            }
            ByteBuffer block = littleEndian(new byte[HEAD_BYTES + Integer.BYTES * events.size() + bytes]);
            block.putLong((System.nanoTime() - began) / 1000).putInt(events.size());
            for (byte[] event : events) {
                block.putInt(event.length);
            }
            for (byte[] event : events) {
                block.put(event);
            }
            events.clear();
            bytes = seen = 0;
            output.collect(new StreamRecord<>(block.array()));
        }

        @Override
        public void prepareSnapshotPreBarrier(long checkpoint) {
            flush();
        }

        @Override
        public void finish() throws Exception {
            flush();
            super.finish();
        }
    }

    private static final class Apart implements FlatMapFunction<byte[], byte[]> {
        private static final long serialVersionUID = 1;

        @Override
        public void flatMap(byte[] packed, Collector<byte[]> predictions) {
            ByteBuffer values = littleEndian(packed);
            int count = values.getInt();
            ByteBuffer lengths = values.slice(values.position(), Integer.BYTES * count).order(ByteOrder.LITTLE_ENDIAN);
            values.position(values.position() + Integer.BYTES * count);
            for (int i = 0; i < count; i++) {
                byte[] prediction = new byte[lengths.getInt()];
                values.get(prediction);
                predictions.collect(prediction);
            }
        }
    }
}
