package penstock;

import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.Http2Configuration;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.*;
import software.amazon.awssdk.services.kinesis.model.Record;

/**
 * The AWS SDK for Java v2 (Netty, HTTP/2, CBOR for all but SubscribeToShard), set up as the KCL sets it up: 512 KiB windows, a PING every
 * few seconds, and Kinesis' own read timeout of 10 s.
 */
public final class PushTest {
    private final Process server;
    private final Path dataDir;
    private final int port;
    private int passed;
    private int failed;

    private PushTest(String binary) throws Exception {
        dataDir = Files.createTempDirectory("penstock-java-");
        server = new ProcessBuilder(binary, "--listen", "127.0.0.1:0", "--data-dir", dataDir.toString(), "--print-ready", "--log-level", "warn")
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String ready = new BufferedReader(new InputStreamReader(server.getInputStream())).readLine();
        port = Integer.parseInt(ready.trim().substring(ready.lastIndexOf(':') + 1));
    }

    private TrustManager[] trust() throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream in = new FileInputStream(dataDir.resolve("tls/ca.pem").toFile())) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory.getTrustManagers();
    }

    private KinesisAsyncClient client(boolean tls) throws Exception {
        NettyNioAsyncHttpClient.Builder http = NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP2).maxConcurrency(Integer.MAX_VALUE)
                .http2Configuration(Http2Configuration.builder().initialWindowSize(512 * 1024).healthCheckPingPeriod(Duration.ofSeconds(3)).build());
        if (tls) {
            TrustManager[] trusted = trust();
            http.tlsTrustManagersProvider(() -> trusted);
        }
        return KinesisAsyncClient.builder().region(Region.US_EAST_1).httpClientBuilder(http)
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("AKIDEXAMPLE", "secret")))
                .endpointOverride(URI.create((tls ? "https" : "http") + "://127.0.0.1:" + port)).build();
    }

    private static String makeStream(KinesisAsyncClient kinesis, String name) throws Exception {
        kinesis.createStream(r -> r.streamName(name).shardCount(1)).join();
        for (int i = 0; i < 200; i++) {
            StreamDescriptionSummary summary = kinesis.describeStreamSummary(r -> r.streamName(name)).join().streamDescriptionSummary();
            if (summary.streamStatus() == StreamStatus.ACTIVE) {
                String arn = kinesis.registerStreamConsumer(r -> r.streamARN(summary.streamARN()).consumerName("java")).join().consumer().consumerARN();
                for (int k = 0; k < 200; k++) {
                    if (kinesis.describeStreamConsumer(r -> r.consumerARN(arn)).join().consumerDescription().consumerStatus() == ConsumerStatus.ACTIVE) {
                        return arn;
                    }
                    Thread.sleep(125); // 20 calls a second are allowed
                }
            }
            Thread.sleep(125);
        }
        throw new IllegalStateException("the stream never became ACTIVE");
    }

    private static CompletableFuture<Void> subscribe(KinesisAsyncClient kinesis, String consumer, String position,
            java.util.function.Consumer<SubscribeToShardEvent> onEvent) {
        return kinesis.subscribeToShard(r -> r.consumerARN(consumer).shardId("shardId-000000000000").startingPosition(p -> p.type(position)),
                SubscribeToShardResponseHandler.builder()
                        .subscriber(event -> event.accept(SubscribeToShardResponseHandler.Visitor.builder().onSubscribeToShardEvent(onEvent).build()))
                        .build());
    }

    private static void check(boolean good, String what) {
        if (!good) {
            throw new AssertionError(what);
        }
    }

    private void pushed(boolean tls) throws Exception {
        final int puts = 200;
        try (KinesisAsyncClient kinesis = client(tls)) {
            String name = tls ? "java-tls" : "java-h2c";
            String consumer = makeStream(kinesis, name);
            List<Record> received = new ArrayList<>();
            CountDownLatch begun = new CountDownLatch(1);
            CountDownLatch all = new CountDownLatch(puts);
            CompletableFuture<Void> subscription = subscribe(kinesis, consumer, "LATEST", event -> {
                check(event.continuationSequenceNumber() != null && event.millisBehindLatest() != null, "R8, R15");
                received.addAll(event.records());
                event.records().forEach(record -> all.countDown());
                begun.countDown();
            });
            check(begun.await(5, TimeUnit.SECONDS), "R5: the first event comes at once");
            List<CompletableFuture<PutRecordResponse>> answers = new ArrayList<>();
            for (int i = 0; i < puts; i++) {
                String text = "record " + i;
                answers.add(kinesis.putRecord(r -> r.streamName(name).partitionKey("key-é").data(SdkBytes.fromUtf8String(text))));
            }
            answers.forEach(CompletableFuture::join);
            check(all.await(10, TimeUnit.SECONDS), "all are pushed");
            check(received.size() == puts && received.stream().map(Record::sequenceNumber).distinct().count() == puts, "each once");
            check(received.get(0).partitionKey().equals("key-é"), "the partition key is whole");
            check(Math.abs(received.get(0).approximateArrivalTimestamp().toEpochMilli() - System.currentTimeMillis()) < 60_000, "R11: times");
            GetRecordsResponse polled = kinesis.getRecords(r -> r.shardIterator(kinesis.getShardIterator(s -> s.streamName(name)
                    .shardId("shardId-000000000000").shardIteratorType("TRIM_HORIZON")).join().shardIterator())).join();
            check(polled.records().size() == puts, "polled over CBOR: all");
            check(polled.records().get(0).approximateArrivalTimestamp().equals(received.get(0).approximateArrivalTimestamp()), "the same time");
            check(polled.records().get(7).data().equals(received.get(7).data()), "the same bytes");
            subscription.cancel(true);
        }
    }

    private void errors() throws Exception {
        try (KinesisAsyncClient kinesis = client(false)) {
            try {
                kinesis.describeStreamSummary(r -> r.streamName("absent")).join();
                check(false, "an error is thrown");
            } catch (CompletionException e) {
                check(e.getCause() instanceof ResourceNotFoundException, "a CBOR error keeps its type: " + e.getCause());
                check(e.getCause().getMessage().contains("Stream absent under account 000000000000 not found."), "and its text");
                check(((ResourceNotFoundException) e.getCause()).requestId() != null, "and its request id");
            }
            try {
                subscribe(kinesis, "arn:aws:kinesis:us-east-1:000000000000:stream/absent/consumer/c:1", "LATEST", event -> { }).join();
                check(false, "an error is thrown");
            } catch (CompletionException e) {
                check(e.getCause() instanceof ResourceNotFoundException, "an error before the stream begins is a plain answer: " + e.getCause());
            }
        }
    }

    /** The read timeout is 10 s: an idle subscription must see an event in time, and PINGs must be acknowledged. */
    private void idle() throws Exception {
        try (KinesisAsyncClient kinesis = client(false)) {
            String consumer = makeStream(kinesis, "java-idle");
            AtomicInteger events = new AtomicInteger();
            CompletableFuture<Void> subscription = subscribe(kinesis, consumer, "LATEST", event -> events.incrementAndGet());
            try {
                subscription.get(17, TimeUnit.SECONDS);
                check(false, "the subscription ended");
            } catch (java.util.concurrent.TimeoutException stillOpen) {
                check(events.get() == 4, "R6: one event at once and one every 5 s, saw " + events.get());
            }
            subscription.cancel(true);
        }
    }

    private interface Body {
        void run() throws Exception;
    }

    private void test(String name, Body body) {
        long begin = System.nanoTime();
        try {
            body.run();
            passed++;
            System.out.printf("ok   %s (%d ms)%n", name, (System.nanoTime() - begin) / 1_000_000);
        } catch (Throwable e) {
            failed++;
            System.out.printf("FAIL %s: %s%n", name, e);
            e.printStackTrace(System.out);
        }
    }

    public static void main(String[] args) throws Exception {
        PushTest tests = new PushTest(args[0]);
        tests.test("pushed over h2c, polled over CBOR", () -> tests.pushed(false));
        tests.test("pushed over TLS, polled over CBOR", () -> tests.pushed(true));
        tests.test("errors keep type, text and request id", tests::errors);
        tests.test("R3, R6: 17 s of idleness under a read timeout of 10 s, with PINGs", tests::idle);
        tests.server.destroy();
        tests.test("the server ends cleanly", () -> check(tests.server.waitFor() == 0, "exit status " + tests.server.exitValue()));
        System.out.printf("%d passed, %d failed%n", tests.passed, tests.failed);
        System.exit(tests.failed == 0 ? 0 : 1);
    }
}
