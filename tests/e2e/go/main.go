// The AWS SDK for Go v2 with its default HTTP client: HTTP/1.1 with chunks to http://, HTTP/2 by ALPN to https://. Its SubscribeToShard
// blocks until the frame `initial-response` is there, so a server that sends an event first hangs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
)

const (
	puts  = 200
	shard = "shardId-000000000000"
)

func eventually(ctx context.Context, ask func() (bool, error)) error {
	for {
		if good, err := ask(); good || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it never became so: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// makeStream gives a stream of one shard with a consumer, both ACTIVE, and the consumer's ARN.
func makeStream(ctx context.Context, client *kinesis.Client, name string) (string, error) {
	if _, err := client.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: &name, ShardCount: aws.Int32(1)}); err != nil {
		return "", err
	}
	var streamARN *string
	err := eventually(ctx, func() (bool, error) {
		answer, err := client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &name})
		if err != nil {
			return false, err
		}
		streamARN = answer.StreamDescriptionSummary.StreamARN
		return answer.StreamDescriptionSummary.StreamStatus == types.StreamStatusActive, nil
	})
	if err != nil {
		return "", err
	}
	made, err := client.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: streamARN, ConsumerName: aws.String("go")})
	if err != nil {
		return "", err
	}
	return *made.Consumer.ConsumerARN, eventually(ctx, func() (bool, error) {
		answer, err := client.DescribeStreamConsumer(ctx, &kinesis.DescribeStreamConsumerInput{ConsumerARN: made.Consumer.ConsumerARN})
		return err == nil && answer.ConsumerDescription.ConsumerStatus == types.ConsumerStatusActive, err
	})
}

func subscribe(ctx context.Context, client *kinesis.Client, consumer string, from types.StartingPosition) (*kinesis.SubscribeToShardEventStream, error) {
	answer, err := client.SubscribeToShard(ctx,
		&kinesis.SubscribeToShardInput{ConsumerARN: &consumer, ShardId: aws.String(shard), StartingPosition: &from})
	if err != nil {
		return nil, err
	}
	return answer.GetStream(), nil
}

// event gives the next SubscribeToShardEvent, nil at the end of the stream.
func event(ctx context.Context, stream *kinesis.SubscribeToShardEventStream) (*types.SubscribeToShardEvent, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case next, open := <-stream.Events():
		if !open {
			return nil, stream.Err()
		}
		member, good := next.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent)
		if !good {
			return nil, fmt.Errorf("an event of type %T", next)
		}
		if member.Value.ContinuationSequenceNumber == nil || member.Value.MillisBehindLatest == nil || len(member.Value.ChildShards) != 0 {
			return nil, fmt.Errorf("R8, R15: %+v", member.Value)
		}
		return &member.Value, nil
	}
}

func put(ctx context.Context, client *kinesis.Client, name string, from, to int) error {
	for i := from; i < to; i++ {
		_, err := client.PutRecord(ctx, &kinesis.PutRecordInput{StreamName: &name, PartitionKey: aws.String("key-é"), Data: []byte(fmt.Sprint("record ", i))})
		if err != nil {
			return err
		}
	}
	return nil
}

// inOrder checks that records are number `from` and on, each once, in the order of putting, and gives the next number.
func inOrder(records []types.Record, from int) (int, error) {
	for _, record := range records {
		if string(record.Data) != fmt.Sprint("record ", from) {
			return 0, fmt.Errorf("expected record %d, got %q", from, record.Data)
		}
		if *record.PartitionKey != "key-é" || time.Since(*record.ApproximateArrivalTimestamp).Abs() > time.Minute {
			return 0, fmt.Errorf("a wrong key or time: %q, %v", *record.PartitionKey, record.ApproximateArrivalTimestamp)
		}
		from++
	}
	return from, nil
}

// receive takes records `from` to `to`, and gives the position after the last event.
func receive(ctx context.Context, stream *kinesis.SubscribeToShardEventStream, from, to int) (after types.StartingPosition, err error) {
	for from < to {
		next, err := event(ctx, stream)
		if err != nil || next == nil {
			return after, fmt.Errorf("the subscription ended before record %d: %w", from, err)
		}
		if from, err = inOrder(next.Records, from); err != nil {
			return after, err
		}
		after = types.StartingPosition{Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: next.ContinuationSequenceNumber}
	}
	return after, nil
}

func poll(ctx context.Context, client *kinesis.Client, name string) error {
	first, err := client.GetShardIterator(ctx,
		&kinesis.GetShardIteratorInput{StreamName: &name, ShardId: aws.String(shard), ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
	if err != nil {
		return err
	}
	got, iterator := 0, first.ShardIterator
	for {
		page, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: iterator, Limit: aws.Int32(90)})
		if err != nil {
			return err
		}
		if got, err = inOrder(page.Records, got); err != nil {
			return err
		}
		if iterator = page.NextShardIterator; *page.MillisBehindLatest == 0 {
			break
		}
	}
	if got != puts {
		return fmt.Errorf("polled %d of %d records", got, puts)
	}
	return nil
}

func pushedAndPolled(ctx context.Context, s *server, scheme, protocol string) error {
	client, seen, err := s.client(scheme)
	if err != nil {
		return err
	}
	name := "go-" + scheme
	consumer, err := makeStream(ctx, client, name)
	if err != nil {
		return err
	}
	stream, err := subscribe(ctx, client, consumer, types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	if err != nil {
		return err
	}
	if first, err := event(ctx, stream); err != nil || first == nil || len(first.Records) != 0 {
		return fmt.Errorf("R5: the first event comes at once: %+v, %w", first, err)
	}
	if err := put(ctx, client, name, 0, puts); err != nil {
		return err
	}
	if _, err := receive(ctx, stream, 0, puts); err != nil {
		return err
	}
	if err := errors.Join(stream.Close(), poll(ctx, client, name)); err != nil {
		return err
	}
	if len(seen.seen) != 1 || seen.seen[protocol] == 0 {
		return fmt.Errorf("every answer should come over %s: %v", protocol, seen.seen)
	}
	return nil
}

// closed: the slot of a subscription that its client closed is free at once, without an error.
func closed(ctx context.Context, s *server, scheme string) error {
	client, _, err := s.client(scheme)
	if err != nil {
		return err
	}
	consumer, err := makeStream(ctx, client, "go-closed-"+scheme)
	for i := 0; i < 3 && err == nil; i++ {
		var stream *kinesis.SubscribeToShardEventStream
		if stream, err = subscribe(ctx, client, consumer, types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}); err != nil {
			return fmt.Errorf("subscription %d: %w", i, err)
		}
		_, err = event(ctx, stream)
		err = errors.Join(err, stream.Close())
	}
	return err
}

// renewed: the server has --subscription-seconds 2. The end is clean, and the next subscription goes on without a gap or a refusal.
func renewed(ctx context.Context, s *server, scheme string) error {
	client, _, err := s.client(scheme)
	if err != nil {
		return err
	}
	name := "go-renewed-" + scheme
	consumer, err := makeStream(ctx, client, name)
	if err != nil {
		return err
	}
	from := types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}
	for round := 0; round < 3; round++ {
		begun := time.Now()
		stream, err := subscribe(ctx, client, consumer, from)
		if err != nil {
			return fmt.Errorf("R7: subscription %d: %w", round, err)
		}
		if err := put(ctx, client, name, round*10, round*10+10); err != nil {
			return err
		}
		if from, err = receive(ctx, stream, round*10, round*10+10); err != nil {
			return err
		}
		if next, err := event(ctx, stream); err != nil || next != nil {
			return fmt.Errorf("R7: subscription %d should end without an error: %+v, %w", round, next, err)
		}
		if lived := time.Since(begun); lived < 1900*time.Millisecond || lived > 4*time.Second {
			return fmt.Errorf("a subscription of 2 s lived %v", lived)
		}
	}
	return nil
}

func typedErrors(ctx context.Context, s *server) error {
	client, _, err := s.client("http")
	if err != nil {
		return err
	}
	_, err = client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("absent")})
	var absent *types.ResourceNotFoundException
	if !errors.As(err, &absent) || absent.ErrorMessage() != "Stream absent under account 000000000000 not found." {
		return fmt.Errorf("ResourceNotFoundException expected: %w", err)
	}
	_, err = subscribe(ctx, client, "arn:aws:kinesis:us-east-1:000000000000:stream/absent/consumer/c:1", types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	if !errors.As(err, &absent) {
		return fmt.Errorf("an error before the stream begins is a plain answer: %w", err)
	}
	consumer, err := makeStream(ctx, client, "go-errors")
	if err != nil {
		return err
	}
	first, err := subscribe(ctx, client, consumer, types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	if err != nil {
		return err
	}
	defer first.Close()
	_, err = subscribe(ctx, client, consumer, types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	var inUse *types.ResourceInUseException
	if !errors.As(err, &inUse) || !strings.HasPrefix(inUse.ErrorMessage(), "Another active subscription exists for this consumer: ") {
		return fmt.Errorf("R14: ResourceInUseException expected: %w", err)
	}
	_, err = client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: aws.String("nonsense")})
	var invalid *types.InvalidArgumentException
	if !errors.As(err, &invalid) {
		return fmt.Errorf("InvalidArgumentException expected: %w", err)
	}
	_, err = client.PutRecord(ctx, &kinesis.PutRecordInput{StreamName: aws.String("go-errors"), PartitionKey: aws.String(""), Data: []byte("x")})
	var general smithy.APIError
	if !errors.As(err, &general) || general.ErrorCode() != "ValidationException" {
		return fmt.Errorf("ValidationException expected: %w", err)
	}
	return nil
}

// deregistered: an error inside the stream ends it, typed.
func deregistered(ctx context.Context, s *server, scheme string) error {
	client, _, err := s.client(scheme)
	if err != nil {
		return err
	}
	consumer, err := makeStream(ctx, client, "go-deregistered-"+scheme)
	if err != nil {
		return err
	}
	stream, err := subscribe(ctx, client, consumer, types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	if err != nil {
		return err
	}
	if _, err := client.DeregisterStreamConsumer(ctx, &kinesis.DeregisterStreamConsumerInput{ConsumerARN: &consumer}); err != nil {
		return err
	}
	for next := new(types.SubscribeToShardEvent); next != nil; {
		next, err = event(ctx, stream)
	}
	var absent *types.ResourceNotFoundException
	if !errors.As(err, &absent) {
		return fmt.Errorf("ResourceNotFoundException expected: %w", err)
	}
	if err := stream.Close(); !errors.As(err, &absent) {
		return fmt.Errorf("Close tells the same error: %w", err)
	}
	return nil
}

type counts struct{ passed, failed int }

func (c *counts) test(name string, body func(context.Context) error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := body(ctx); err != nil {
		c.failed++
		fmt.Printf("FAIL %s: %v\n", name, err)
		return
	}
	c.passed++
	fmt.Printf("ok   %s (%d ms)\n", name, time.Since(begun).Milliseconds())
}

func main() {
	s, err := startServer(os.Args[1], "--limit", "subscribe_calls=0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	brief, err := startServer(os.Args[1], "--subscription-seconds", "2", "--limit", "subscribe_calls=0")
	if err != nil {
		fmt.Println(errors.Join(err, s.stop()))
		os.Exit(1)
	}
	var c counts
	for _, scheme := range []string{"http", "https"} {
		protocol := map[string]string{"http": "HTTP/1.1", "https": "HTTP/2.0"}[scheme]
		title := fmt.Sprintf(" over %s:// (%s)", scheme, protocol)
		c.test("200 records pushed and polled, in order"+title, func(ctx context.Context) error { return pushedAndPolled(ctx, s, scheme, protocol) })
		c.test("closed by the client: the slot is free at once"+title, func(ctx context.Context) error { return closed(ctx, brief, scheme) })
		c.test("R7: ended by the server, then renewed without a gap"+title, func(ctx context.Context) error { return renewed(ctx, brief, scheme) })
		c.test("deregistered: the stream ends with a typed error"+title, func(ctx context.Context) error { return deregistered(ctx, s, scheme) })
	}
	c.test("errors are typed", func(ctx context.Context) error { return typedErrors(ctx, s) })
	c.test("the servers end cleanly", func(context.Context) error { return errors.Join(s.stop(), brief.stop()) })
	fmt.Printf("%d passed, %d failed\n", c.passed, c.failed)
	if c.failed > 0 {
		os.Exit(1)
	}
}
