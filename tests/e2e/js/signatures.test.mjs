// The AWS SDK for JavaScript v3 against a server that verifies: it signs x-amz-content-sha256 and its own amz-sdk-* headers, and over
// HTTP/2 the authority.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  CreateStreamCommand,
  DescribeStreamConsumerCommand,
  DescribeStreamSummaryCommand,
  KinesisClient,
  ListStreamsCommand,
  PutRecordCommand,
  RegisterStreamConsumerCommand,
  SubscribeToShardCommand,
} from "@aws-sdk/client-kinesis";
import { NodeHttp2Handler, NodeHttpHandler } from "@smithy/node-http-handler";
import { startServer } from "./server.mjs";

const good = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
const temporary = { accessKeyId: "ASIAEXAMPLE", secretAccessKey: "temporary+secret", sessionToken: "IQoJb3Jp/Z2lu+X2Vj==" };
const file = `[default]
aws_access_key_id = ${good.accessKeyId}
aws_secret_access_key = ${good.secretAccessKey}
[temporary]
aws_access_key_id = ${temporary.accessKeyId}
aws_secret_access_key = ${temporary.secretAccessKey}
aws_session_token = ${temporary.sessionToken}
`;
let server, directory;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "penstock-keys-"));
  writeFileSync(join(directory, "credentials"), file, { mode: 0o600 });
  server = await startServer("--limits", "off", "--credentials", join(directory, "credentials"));
});
after(async () => {
  assert.equal(await server.stop(), 0);
  rmSync(directory, { recursive: true });
});

function client(protocol, credentials = good, more = {}) {
  const common = { region: "us-east-1", credentials, maxAttempts: 1, ...more };
  if (protocol === "h2c") return new KinesisClient({ ...common, endpoint: `http://127.0.0.1:${server.port}` });
  if (protocol === "http/1.1")
    return new KinesisClient({ ...common, endpoint: `http://127.0.0.1:${server.port}`, requestHandler: new NodeHttpHandler() });
  return new KinesisClient({
    ...common,
    endpoint: `https://127.0.0.1:${server.port}`,
    requestHandler: new NodeHttp2Handler({ disableConcurrentStreams: true, nodeHttp2ConnectOptions: { ca: server.ca() } }),
  });
}

async function until(ask) {
  while (!(await ask())) await new Promise((resolve) => setTimeout(resolve, 20));
}

for (const protocol of ["h2c", "tls", "http/1.1"]) {
  test(`${protocol}: good keys put and subscribe`, { timeout: 30000 }, async () => {
    const kinesis = client(protocol, protocol === "tls" ? temporary : good);
    const StreamName = `signed-${protocol.replace("/", "-")}`;
    await kinesis.send(new CreateStreamCommand({ StreamName, ShardCount: 1 }));
    let summary;
    await until(async () => {
      summary = (await kinesis.send(new DescribeStreamSummaryCommand({ StreamName }))).StreamDescriptionSummary;
      return summary.StreamStatus === "ACTIVE";
    });
    const { Consumer } = await kinesis.send(new RegisterStreamConsumerCommand({ StreamARN: summary.StreamARN, ConsumerName: "app" }));
    const { ConsumerARN } = Consumer;
    await until(async () => {
      const answer = await kinesis.send(new DescribeStreamConsumerCommand({ ConsumerARN }));
      return answer.ConsumerDescription.ConsumerStatus === "ACTIVE";
    });
    await kinesis.send(new PutRecordCommand({ StreamName, PartitionKey: "k", Data: Buffer.from("signed") }));
    const { EventStream } = await kinesis.send(
      new SubscribeToShardCommand({ ConsumerARN, ShardId: "shardId-000000000000", StartingPosition: { Type: "TRIM_HORIZON" } }),
    );
    for await (const event of EventStream) {
      const records = event.SubscribeToShardEvent.Records;
      if (records.length === 0) continue;
      assert.equal(Buffer.from(records[0].Data).toString(), "signed");
      break;
    }
    kinesis.destroy();
  });

  test(`${protocol}: a wrong secret, an unknown key, a wrong clock`, { timeout: 30000 }, async () => {
    const attempt = (credentials, more) => client(protocol, credentials, more).send(new ListStreamsCommand({}));
    await assert.rejects(attempt({ ...good, secretAccessKey: "wrong" }), { name: "InvalidSignatureException" });
    await assert.rejects(attempt({ ...good, accessKeyId: "AKNOBODY" }), { name: "UnrecognizedClientException" });
    await assert.rejects(attempt({ ...temporary, sessionToken: "x" }), { name: "UnrecognizedClientException" });
    await assert.rejects(attempt(good, { systemClockOffset: -600000 }), { name: "InvalidSignatureException", message: /^Signature expired: / });
  });
}
