package penstock;

import java.net.URI;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.PutRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.StreamDescriptionSummary;
import software.amazon.awssdk.services.kinesis.model.StreamStatus;
import software.amazon.kinesis.common.KinesisClientUtil;

/** Puts rounds: in each, one record for every key, whose data is the round's number. One call at a time, so the order of a key is that of rounds. */
final class Producer {
    static final int KEYS = 20;

    final KinesisAsyncClient kinesis;
    private final String stream;
    private int rounds;
    private volatile boolean running;
    private Thread thread;
    private volatile Throwable failure;

    Producer(String stream, URI uri) {
        this.stream = stream;
        kinesis = KinesisClientUtil.createKinesisAsyncClient(
                KinesisAsyncClient.builder().region(Region.US_EAST_1).credentialsProvider(Application.CREDENTIALS).endpointOverride(uri));
    }

    int put() {
        return rounds * KEYS;
    }

    void put(int count) {
        for (int i = 0; i < count; i++) {
            SdkBytes data = SdkBytes.fromUtf8String(Integer.toString(rounds));
            List<PutRecordsRequestEntry> entries = IntStream.range(0, KEYS)
                    .mapToObj(key -> PutRecordsRequestEntry.builder().partitionKey("key-" + key).data(data).build()).toList();
            PutRecordsResponse answer = kinesis.putRecords(r -> r.streamName(stream).records(entries)).join();
            if (answer.failedRecordCount() != 0) {
                throw new IllegalStateException("refused: " + answer);
            }
            rounds++;
        }
    }

    /** Goes on putting until stop(), 20 rounds a second. */
    void start() {
        running = true;
        thread = new Thread(() -> {
            try {
                while (running) {
                    put(1);
                    TimeUnit.MILLISECONDS.sleep(50);
                }
            } catch (Throwable e) {
                failure = e;
            }
        }, "producer");
        thread.start();
    }

    void stop() throws Exception {
        running = false;
        thread.join();
        if (failure != null) {
            throw new IllegalStateException("a put failed", failure);
        }
    }

    void awaitActive() throws Exception {
        for (int i = 0; i < 400; i++) {
            StreamDescriptionSummary summary = kinesis.describeStreamSummary(r -> r.streamName(stream)).join().streamDescriptionSummary();
            if (summary.streamStatus() == StreamStatus.ACTIVE) {
                return;
            }
            TimeUnit.MILLISECONDS.sleep(25);
        }
        throw new IllegalStateException("the stream did not become ACTIVE");
    }
}
