package penstock;

import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The Kinesis Client Library for Java, as its users set it up: one application by enhanced fan-out over http:// (h2c), one over https://, one
 * by polling. The same stream for all, from the beginning: 500 records, 70 s of silence, more records, a split and a merge under load.
 * The library's log is the judge: nothing from WARN up that AWS would not cause.
 */
public final class KclTest {
    private static final String STREAM = "kcl";
    /** Longer than every time-out on the way: 10 s for the SDK's reads, 60 s for PINGs, for the KCL's watchdog and for idle connections. */
    private static final int SILENCE_S = 70;

    private final Log log;
    private final Path dataDir;
    private final Local server;
    private final Local dynamo;
    private final List<Application> applications = new ArrayList<>();
    private Producer producer;
    private int passed;
    private int failed;

    private KclTest(String binary, String python, Path build) throws Exception {
        log = Log.install(build.resolve("kcl.log"));
        dataDir = Files.createTempDirectory("penstock-kcl-");
        server = new Local(binary, "--listen", "127.0.0.1:0", "--data-dir", dataDir.toString(), "--print-ready", "--log-level", "warn");
        dynamo = new Local(python, "dynamo.py");
        trust(dataDir.resolve("tls/ca.pem"));
    }

    /** The virtual machine's own trust store: the KCL has no setting for one. */
    private static void trust(Path ca) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        try (FileInputStream in = new FileInputStream(ca.toFile())) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        Path file = ca.resolveSibling("trust.p12");
        try (FileOutputStream out = new FileOutputStream(file.toFile())) {
            store.store(out, "penstock".toCharArray());
        }
        System.setProperty("javax.net.ssl.trustStore", file.toString());
        System.setProperty("javax.net.ssl.trustStorePassword", "penstock");
    }

    private static String shard(int number) {
        return String.format("shardId-%012d", number);
    }

    private static void check(boolean good, String what) {
        if (!good) {
            throw new AssertionError(what);
        }
    }

    private static void await(int seconds, String what, BooleanSupplier condition) throws Exception {
        for (long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds); System.nanoTime() < end;) {
            if (condition.getAsBoolean()) {
                return;
            }
            TimeUnit.MILLISECONDS.sleep(20);
        }
        throw new AssertionError("not within " + seconds + " s: " + what);
    }

    /** All that was put is received by each, each record once, in order per key. */
    private void allReceived(int seconds) throws Exception {
        for (Application application : applications) {
            await(seconds, application.name + " has received all", () -> application.received() >= producer.put());
            check(application.received() == producer.put(), application.name + ": " + application.received() + " of " + producer.put());
            check(application.wrong().isEmpty(), application.name + ": " + application.wrong());
        }
    }

    private void start() throws Exception {
        URI plain = URI.create("http://127.0.0.1:" + server.port);
        URI tls = URI.create("https://127.0.0.1:" + server.port);
        URI leases = URI.create("http://127.0.0.1:" + dynamo.port);
        producer = new Producer(STREAM, plain);
        producer.kinesis.createStream(r -> r.streamName(STREAM).shardCount(2)).join();
        producer.awaitActive();
        producer.put(10);
        applications.add(new Application("fan-out-h2c", STREAM, plain, leases, false));
        applications.add(new Application("fan-out-tls", STREAM, tls, leases, false));
        applications.add(new Application("polling-tls", STREAM, tls, leases, true));
        // An empty lease table makes a worker wait for a random time of up to 30 s before it looks at the stream.
        for (Application application : applications) {
            await(90, application.name + " has received the first records", () -> application.received() == producer.put());
        }
        producer.put(15);
        allReceived(20);
        for (Application application : applications) {
            check(application.ofShard().keySet().equals(Set.of(shard(0), shard(1))), application.name + ": " + application.ofShard());
        }
    }

    private void silence() throws Exception {
        List<Integer> subscriptions = applications.stream().map(a -> a.calls.count("SubscribeToShard")).toList();
        TimeUnit.SECONDS.sleep(SILENCE_S);
        check(subscriptions.equals(applications.stream().map(a -> a.calls.count("SubscribeToShard")).toList()), "somebody subscribed again");
        check(subscriptions.equals(List.of(2, 2, 0)), "one subscription per shard was enough: " + subscriptions);
        long begin = System.nanoTime();
        producer.put(5);
        allReceived(20);
        check(applications.stream().allMatch(a -> a.doubles() == 0), "no record was delivered twice");
        System.out.printf("     after the silence, %d records were with all after %d ms%n", 5 * Producer.KEYS, (System.nanoTime() - begin) / 1_000_000);
    }

    /** The parents end, their children are read, and soon the children alone have leases. */
    private void followed(Set<String> parents, Set<String> children, Set<String> leases) throws Exception {
        for (Application application : applications) {
            await(60, application.name + " has ended " + parents, () -> application.ended().containsAll(parents));
            await(60, application.name + " reads " + children, () -> application.ofShard().keySet().containsAll(children));
            await(60, application.name + " has leases for " + leases, () -> application.leaseTable().keySet().equals(leases));
        }
    }

    private void split() throws Exception {
        producer.start();
        // Shard 0 covers 0 to 2^127 - 1.
        producer.kinesis.splitShard(r -> r.streamName(STREAM).shardToSplit(shard(0)).newStartingHashKey("85070591730234615865843651857942052864")).join();
        producer.awaitActive();
        followed(Set.of(shard(0)), Set.of(shard(2), shard(3)), Set.of(shard(1), shard(2), shard(3)));
        producer.stop();
        allReceived(20);
    }

    private void merge() throws Exception {
        producer.start();
        producer.kinesis.mergeShards(r -> r.streamName(STREAM).shardToMerge(shard(3)).adjacentShardToMerge(shard(1))).join();
        producer.awaitActive();
        followed(Set.of(shard(1), shard(3)), Set.of(shard(4)), Set.of(shard(2), shard(4)));
        producer.stop();
        allReceived(20);
    }

    /** The KCL asks for its consumer before it registers it; everything else must be answered. */
    private void refusals() {
        for (Application application : applications) {
            System.out.println("     " + application.name + ": " + application.received() + " records, " + application.doubles() + " doubles, " + application.calls);
            List<String> refused = application.calls.failed().stream()
                    .filter(text -> !text.startsWith("DescribeStreamConsumer: software.amazon.awssdk.services.kinesis.model.ResourceNotFoundException")).toList();
            check(refused.isEmpty(), application.name + ": " + refused);
        }
    }

    private void shutDown() throws Exception {
        for (Application application : applications) {
            check(application.stop(), application.name + " stops gracefully");
            check(application.wrong().isEmpty(), application.name + ": " + application.wrong());
        }
    }

    private interface Body {
        void run() throws Exception;
    }

    /** Log lines from WARN up that AWS causes as well. */
    private static final List<Pattern> EXPECTED = List.of(
            // A parent's lease stays until its children have been begun; the clean-up of this test asks every second, not every 5 minutes.
            Pattern.compile("LeaseCleanupManager: Unable to clean up lease .*wereChildShardsPresent=true, wasResourceNotFound=false"),
            // At the end of a shard the KCL cancels the subscription that ends by itself at that moment: whichever comes second complains.
            Pattern.compile("(?s)DefaultChannelPipeline: .*SdkCancellationException: Subscriber cancelled.*ShardConsumer.handleInput"),
            Pattern.compile("FanOutRecordsPublisher.RecordFlow: .*complete called on a cancelled subscription. Ignoring completion"));

    /** Each test stands on the one before: the first failure is the last line worth reading. */
    private void test(String name, Body body) {
        if (failed > 0) {
            return;
        }
        long begin = System.nanoTime();
        Throwable failure = null;
        try {
            body.run();
        } catch (Throwable e) {
            failure = e;
        }
        List<String> unexpected = log.takeWarnings().stream().filter(line -> EXPECTED.stream().noneMatch(p -> p.matcher(line).find())).toList();
        if (failure == null && unexpected.isEmpty()) {
            passed++;
            System.out.printf("ok   %s (%d ms)%n", name, (System.nanoTime() - begin) / 1_000_000);
            return;
        }
        failed++;
        System.out.printf("FAIL %s: %s; %d unexpected log lines%n", name, failure, unexpected.size());
        unexpected.stream().limit(10).forEach(System.out::println);
    }

    private static void remove(Path directory) throws Exception {
        try (Stream<Path> inside = Files.walk(directory)) {
            inside.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        }
    }

    public static void main(String[] args) throws Exception {
        KclTest tests = new KclTest(args[0], args[1], Path.of(args[2]));
        tests.test("500 records by fan-out over h2c and TLS, and by polling, in order per key", tests::start);
        tests.test(SILENCE_S + " s of silence, then more records", tests::silence);
        tests.test("a split under load: the parent ends, its children are read", tests::split);
        tests.test("a merge under load: both parents end, their child is read", tests::merge);
        tests.test("no call was refused", tests::refusals);
        tests.test("graceful shutdown", tests::shutDown);
        tests.dynamo.stop();
        int status = tests.server.stop();
        tests.test("the server ends cleanly", () -> check(status == 0, "exit status " + status));
        remove(tests.dataDir);
        System.out.printf("%d passed, %d failed%n", tests.passed, tests.failed);
        System.exit(tests.failed == 0 ? 0 : 1);
    }
}
