package penstock;

import java.net.URI;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.common.LeaseCleanupConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.RetrievalConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/** One KCL application with one worker: it receives all, checkpoints each batch, and judges order and doubles as records come. */
final class Application {
    static final StaticCredentialsProvider CREDENTIALS = StaticCredentialsProvider.create(AwsBasicCredentials.create("AKIDEXAMPLE", "secret"));

    final String name;
    final Calls calls = new Calls();
    private final Scheduler scheduler;
    private final DynamoDbAsyncClient dynamo;
    private final Thread thread;
    private final Set<String> seen = new HashSet<>();
    private final Map<String, Integer> nextOfKey = new HashMap<>();
    private final Map<String, Integer> ofShard = new TreeMap<>();
    private final Set<String> ended = new TreeSet<>();
    private final List<String> wrong = new ArrayList<>();
    private int doubles;

    Application(String name, String stream, URI kinesisUri, URI dynamoUri, boolean polling) {
        this.name = name;
        KinesisAsyncClient kinesis = KinesisClientUtil.createKinesisAsyncClient(KinesisAsyncClient.builder().region(Region.US_EAST_1)
                .credentialsProvider(CREDENTIALS).endpointOverride(kinesisUri).overrideConfiguration(c -> c.addExecutionInterceptor(calls)));
        dynamo = DynamoDbAsyncClient.builder().region(Region.US_EAST_1).credentialsProvider(CREDENTIALS).endpointOverride(dynamoUri).build();
        // Never called: the metrics factory below drops everything.
        CloudWatchAsyncClient cloudWatch = CloudWatchAsyncClient.builder().region(Region.US_EAST_1).credentialsProvider(CREDENTIALS)
                .endpointOverride(dynamoUri).build();
        ConfigsBuilder configs = new ConfigsBuilder(
                new SingleStreamTracker(stream, InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON)),
                name, kinesis, dynamo, cloudWatch, "worker", Processor::new);
        RetrievalConfig retrieval = configs.retrievalConfig();
        if (polling) {
            retrieval.retrievalSpecificConfig(new PollingConfig(stream, kinesis));
        }
        scheduler = new Scheduler(configs.checkpointConfig(),
                configs.coordinatorConfig().parentShardPollIntervalMillis(1000).schedulerInitializationBackoffTimeMillis(100),
                leases(configs), configs.lifecycleConfig(), configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
                configs.processorConfig(), retrieval);
        thread = new Thread(scheduler, name);
        thread.start();
    }

    /** The KCL's own recipe, with short times; a lease is still held long enough for a busy machine. */
    private static LeaseManagementConfig leases(ConfigsBuilder configs) {
        LeaseManagementConfig leases = new LeaseManagementConfig(configs.tableName(), configs.applicationName(), configs.dynamoDBClient(),
                configs.kinesisClient(), configs.workerIdentifier()) {
            @Override
            public LeaseCleanupConfig leaseCleanupConfig() {
                return LeaseCleanupConfig.builder().leaseCleanupIntervalMillis(1000).completedLeaseCleanupIntervalMillis(1000)
                        .garbageLeaseCleanupIntervalMillis(5000).build();
            }
        };
        // Worker metrics would ask the metadata service of the machine for its size.
        leases.workerUtilizationAwareAssignmentConfig().disableWorkerMetrics(true);
        // The list of shards is kept for 30 s; a second reshard within that time would be a warning with each batch.
        return leases.listShardsCacheAllowedAgeInSeconds(0).failoverTimeMillis(5000).leaseAssignmentIntervalMillis(1000L)
                .shardSyncIntervalMillis(1000);
    }

    synchronized int received() {
        return seen.size();
    }

    synchronized int doubles() {
        return doubles;
    }

    /** Records for each shard, after de-duplication. */
    synchronized Map<String, Integer> ofShard() {
        return new TreeMap<>(ofShard);
    }

    synchronized Set<String> ended() {
        return new TreeSet<>(ended);
    }

    synchronized List<String> wrong() {
        return new ArrayList<>(wrong);
    }

    /** The shards that have a lease, and where each stands. */
    Map<String, String> leaseTable() {
        Map<String, String> leases = new TreeMap<>();
        for (Map<String, AttributeValue> item : dynamo.scan(r -> r.tableName(name).consistentRead(true)).join().items()) {
            if (item.get("leaseKey").s().startsWith("shardId-")) {
                leases.put(item.get("leaseKey").s(), item.get("checkpoint").s());
            }
        }
        return leases;
    }

    boolean stop() throws Exception {
        boolean graceful = scheduler.startGracefulShutdown().get(30, TimeUnit.SECONDS);
        thread.join(10_000);
        return graceful && !thread.isAlive();
    }

    private synchronized void take(String shard, List<KinesisClientRecord> records) {
        for (KinesisClientRecord record : records) {
            if (!seen.add(record.sequenceNumber())) {
                doubles++;
                continue;
            }
            ofShard.merge(shard, 1, Integer::sum);
            byte[] data = new byte[record.data().remaining()];
            record.data().get(data);
            int number = Integer.parseInt(new String(data));
            int expected = nextOfKey.merge(record.partitionKey(), 1, Integer::sum) - 1;
            if (number != expected) {
                wrong.add(shard + ", " + record.partitionKey() + ": expected " + expected + ", got " + number);
            }
        }
    }

    private synchronized void complain(String text) {
        wrong.add(text);
    }

    private final class Processor implements ShardRecordProcessor {
        private String shard;
        private boolean stopping;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            if (input.millisBehindLatest() == null) {
                complain(shard + ": no MillisBehindLatest");
            }
            take(shard, input.records());
            if (!input.records().isEmpty()) {
                checkpoint(() -> input.checkpointer().checkpoint());
            }
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            checkpoint(() -> input.checkpointer().checkpoint());
            synchronized (Application.this) {
                ended.add(shard);
            }
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            // A graceful shutdown gives leases back.
            if (!stopping) {
                complain(shard + ": its lease was lost");
            }
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            stopping = true;
            checkpoint(() -> input.checkpointer().checkpoint());
        }

        private void checkpoint(Checkpoint call) {
            try {
                call.run();
            } catch (Exception e) {
                complain(shard + ": no checkpoint: " + e);
            }
        }
    }

    private interface Checkpoint {
        void run() throws Exception;
    }
}
