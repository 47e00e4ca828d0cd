// The AWS SDK for JavaScript v3 with its default handler (h2c and TLS: a new connection for each call, a second SETTINGS and a GOAWAY
// while the stream runs) and over HTTP/1.1: everything is delivered, in order, and about when the put is answered.
//
// PENSTOCK_JS_PUTS (100) puts at PENSTOCK_JS_RATE (25) a second; ./dev show js runs the 1,000 of docs/figures.md.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CreateStreamCommand,
  DeregisterStreamConsumerCommand,
  DescribeStreamConsumerCommand,
  DescribeStreamSummaryCommand,
  KinesisClient,
  ListShardsCommand,
  PutRecordCommand,
  RegisterStreamConsumerCommand,
  SubscribeToShardCommand,
} from "@aws-sdk/client-kinesis";
import { NodeHttp2Handler, NodeHttpHandler } from "@smithy/node-http-handler";
import { startServer } from "./server.mjs";

const puts = Number(process.env.PENSTOCK_JS_PUTS ?? 100);
const rate = Number(process.env.PENSTOCK_JS_RATE ?? 25);
const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" };
let server;

before(async () => (server = await startServer()));
after(async () => assert.equal(await server.stop(), 0));

function client(protocol) {
  const common = { region: "us-east-1", credentials, maxAttempts: 1 };
  if (protocol === "h2c") return new KinesisClient({ ...common, endpoint: `http://127.0.0.1:${server.port}` });
  if (protocol === "http/1.1")
    return new KinesisClient({ ...common, endpoint: `http://127.0.0.1:${server.port}`, requestHandler: new NodeHttpHandler() });
  return new KinesisClient({
    ...common,
    endpoint: `https://127.0.0.1:${server.port}`,
    requestHandler: new NodeHttp2Handler({ disableConcurrentStreams: true, nodeHttp2ConnectOptions: { ca: server.ca() } }),
  });
}

async function until(ask, good) {
  const passing = ["ResourceNotFoundException", "ResourceInUseException", "LimitExceededException"];
  for (let i = 0; i < 100; i++) {
    try {
      const answer = await ask();
      if (good(answer)) return answer;
    } catch (error) {
      if (!passing.includes(error.name)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(25 << i, 125))); // AWS has limits on polling, and so has penstock
  }
  throw new Error("it never became so");
}

async function makeStream(kinesis, name) {
  await kinesis.send(new CreateStreamCommand({ StreamName: name, ShardCount: 1 }));
  const { StreamDescriptionSummary: summary } = await until(
    () => kinesis.send(new DescribeStreamSummaryCommand({ StreamName: name })),
    (answer) => answer.StreamDescriptionSummary.StreamStatus === "ACTIVE",
  );
  const { Consumer } = await kinesis.send(
    new RegisterStreamConsumerCommand({ StreamARN: summary.StreamARN, ConsumerName: "js" }),
  );
  await until(
    () => kinesis.send(new DescribeStreamConsumerCommand({ ConsumerARN: Consumer.ConsumerARN })),
    (answer) => answer.ConsumerDescription.ConsumerStatus === "ACTIVE",
  );
  const { Shards } = await kinesis.send(new ListShardsCommand({ StreamName: name }));
  return { consumer: Consumer.ConsumerARN, shard: Shards[0].ShardId };
}

const subscribe = (kinesis, { consumer, shard }, position) =>
  kinesis.send(new SubscribeToShardCommand({ ConsumerARN: consumer, ShardId: shard, StartingPosition: position }));

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];

async function receive(stream, received, sequences) {
  for await (const { SubscribeToShardEvent: event } of stream) {
    const now = performance.now();
    for (const record of event.Records) {
      received.set(Buffer.from(record.Data).readUInt32LE(0), now);
      sequences.push(BigInt(record.SequenceNumber));
    }
    if (received.size >= puts) break;
  }
}

async function putAll(kinesis, name, answered) {
  const begin = performance.now();
  const pending = [];
  for (let i = 0; i < puts; i++) {
    const wait = begin + (i * 1000) / rate - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    const data = Buffer.alloc(1024);
    data.writeUInt32LE(i, 0);
    pending.push(
      kinesis.send(new PutRecordCommand({ StreamName: name, PartitionKey: `k${i}`, Data: data })).then(() => answered.set(i, performance.now())),
    );
  }
  await Promise.all(pending);
}

for (const protocol of ["h2c", "tls", "http/1.1"]) {
  test(`push over ${protocol}: all delivered, once, in order, about when the put is answered`, { timeout: 300_000 }, async () => {
    const kinesis = client(protocol);
    const name = `push-${protocol.replace(/\W/g, "-")}`;
    const where = await makeStream(kinesis, name);
    const { EventStream } = await subscribe(kinesis, where, { Type: "LATEST" });
    const received = new Map(), answered = new Map(), sequences = [];
    const receiving = receive(EventStream, received, sequences);
    await putAll(kinesis, name, answered);
    await receiving;
    assert.equal(received.size, puts);
    assert.equal(sequences.length, puts, "no record twice");
    assert.ok(sequences.every((s, i) => i === 0 || s > sequences[i - 1]), "sequence numbers rise");
    const behind = [...received].map(([i, at]) => at - answered.get(i)).sort((a, b) => a - b);
    console.log(
      `${protocol}: ${puts} puts at ${rate}/s, received minus answered: p50 ${quantile(behind, 0.5).toFixed(2)} ms, ` +
        `p99 ${quantile(behind, 0.99).toFixed(2)} ms, max ${behind.at(-1).toFixed(2)} ms`,
    );
    // Only that push does not wait for a timer: what the figures are is for ./dev show js on a quiet machine.
    assert.ok(quantile(behind, 0.5) < 20, "pushed, not polled");
    kinesis.destroy();
  });
}

test("R14: a second subscription is refused for 5 s, then wins, and the first ends with ResourceInUseException", async () => {
  const kinesis = client("h2c");
  const where = await makeStream(kinesis, "takeover");
  const first = await subscribe(kinesis, where, { Type: "LATEST" });
  const begun = performance.now();
  const firstEnds = assert.rejects(
    async () => {
      for await (const event of first.EventStream) assert.ok(event.SubscribeToShardEvent.ContinuationSequenceNumber);
    },
    { name: "ResourceInUseException" },
  );
  await assert.rejects(subscribe(kinesis, where, { Type: "LATEST" }), { name: "ResourceInUseException" });
  const second = await until(() => subscribe(kinesis, where, { Type: "LATEST" }), () => true);
  assert.ok(performance.now() - begun > 4900);
  await firstEnds;
  for await (const event of second.EventStream) {
    assert.equal(event.SubscribeToShardEvent.MillisBehindLatest, 0);
    break;
  }
  kinesis.destroy();
});

test("a consumer that is deregistered ends its subscription with ResourceNotFoundException", async () => {
  const kinesis = client("h2c");
  const where = await makeStream(kinesis, "deregistered");
  const { EventStream } = await subscribe(kinesis, where, { Type: "TRIM_HORIZON" });
  await assert.rejects(
    async () => {
      for await (const event of EventStream)
        if (event.SubscribeToShardEvent) await kinesis.send(new DeregisterStreamConsumerCommand({ ConsumerARN: where.consumer }));
    },
    { name: "ResourceNotFoundException" },
  );
  kinesis.destroy();
});
