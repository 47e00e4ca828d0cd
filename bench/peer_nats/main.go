// NATS JetStream under ./dev bench peers: what bench/peer.c is for servers with a client library in C.
//
// As there: open loop, from the time a put was meant to be sent to its receipt by each consumer; each consumer must get each record once and in
// order; the first record goes alone, until each consumer has it. A line for each second since the first put, then the figures as JSON.
//
// Each consumer is an ordered push consumer (no acknowledgements, flow control, its state in the server's memory) with a connection of its own, and
// the time of receipt is that of its callback. Puts are PublishAsync, whose acknowledgement comes when the stream's file is synced.
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

const (
	lead   = 100 * time.Microsecond // as in peer.c
	arrive = 30 * time.Second
)

var (
	port      = flag.Int("port", 4222, "")
	consumers = flag.Int("consumers", 1, "")
	rate      = flag.Float64("rate", 200, "puts a second")
	seconds   = flag.Float64("seconds", 20, "")
	warmup    = flag.Float64("warmup", 2, "seconds before that")
	size      = flag.Int("size", 1024, "bytes of a record")
	topic     = flag.String("topic", "peers", "stream and subject")
)

func die(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "peer_nats: "+format+"\n", arguments...)
	os.Exit(1)
}

func must(err error, what string) {
	if err != nil {
		die("%s: %v", what, err)
	}
}

func now() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}

// alarm wakes at a time. It is a timerfd, which Go's poller waits for beside the sockets: time.Sleep comes up to a millisecond late.
type alarm struct {
	file *os.File
	fd   int
}

func newAlarm() *alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	must(err, "timerfd")
	return &alarm{os.NewFile(uintptr(fd), "timerfd"), fd}
}

func (a *alarm) waitUntil(at int64) {
	if at <= now() {
		return
	}
	var expired [8]byte
	must(unix.TimerfdSettime(a.fd, unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: unix.NsecToTimespec(at)}, nil), "timerfd")
	_, err := a.file.Read(expired[:])
	must(err, "timerfd")
}

// consumer: touched by its callback alone, but for received.
type consumer struct {
	received  atomic.Uint64
	latencies []int64
}

var warm atomic.Int64 // records due from then on are measured

func (c *consumer) onMessage(message *nats.Msg) {
	at := now()
	number, due := binary.LittleEndian.Uint64(message.Data), int64(binary.LittleEndian.Uint64(message.Data[8:]))
	if number != c.received.Load() || len(message.Data) != *size {
		die("a consumer got record %d, not %d", number, c.received.Load())
	}
	if begin := warm.Load(); begin != 0 && due >= begin {
		c.latencies = append(c.latencies, at-due)
	}
	c.received.Store(number + 1)
}

func connect() (*nats.Conn, nats.JetStreamContext) {
	connection, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", *port), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { die("%v", err) }))
	must(err, "connect")
	stream, err := connection.JetStream(nats.PublishAsyncErrHandler(func(_ nats.JetStream, _ *nats.Msg, err error) { die("not put: %v", err) }))
	must(err, "JetStream")
	return connection, stream
}

func subscribe() []*consumer {
	all := make([]*consumer, *consumers)
	for i := range all {
		all[i] = &consumer{latencies: make([]int64, 0, int(*rate**seconds)+1)}
		_, stream := connect()
		_, err := stream.Subscribe(*topic, all[i].onMessage, nats.OrderedConsumer(), nats.BindStream(*topic))
		must(err, "subscribe")
	}
	return all
}

func waitForAll(all []*consumer, put uint64) {
	end := time.Now().Add(arrive)
	for _, c := range all {
		for c.received.Load() != put {
			if time.Now().After(end) {
				die("not every consumer has all %d records", put)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func put(stream nats.JetStreamContext, number uint64, due int64) {
	// A new one each time: PublishAsync keeps it until it is acknowledged.
	record := make([]byte, *size)
	binary.LittleEndian.PutUint64(record, number)
	binary.LittleEndian.PutUint64(record[8:], uint64(due))
	for now() < due {
	}
	_, err := stream.PublishAsync(*topic, record)
	must(err, "publish")
}

func cpu() float64 {
	var usage unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// quantile of what is sorted, in ms.
func quantile(sorted []int64, q float64) float64 {
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]) / 1e6
}

func figures(all []*consumer, lags []int64, used float64) {
	var latencies []int64
	for _, c := range all {
		latencies = append(latencies, c.latencies...)
	}
	for _, sample := range [][]int64{latencies, lags} {
		sort.Slice(sample, func(i, j int) bool { return sample[i] < sample[j] })
	}
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{"p50_ms": quantile(latencies, 0.5), "p99_ms": quantile(latencies, 0.99), "n": len(latencies),
		"client_cpu": used / (*warmup + *seconds), "client_lag_ms": quantile(lags, 0.99)}), "stdout")
}

func main() {
	flag.Parse()
	_, stream := connect()
	_, err := stream.AddStream(&nats.StreamConfig{Name: *topic, Subjects: []string{*topic}, Storage: nats.FileStorage, Replicas: 1})
	must(err, "stream")
	all := subscribe()
	put(stream, 0, now())
	waitForAll(all, 1)

	alarm, puts, told, lags := newAlarm(), int((*warmup+*seconds)**rate), 0, []int64{}
	used, begin := cpu(), now()+1e6
	warm.Store(begin + int64(*warmup*1e9))
	early := min(int64(lead), int64(1e8 / *rate))
	for i := range puts {
		due := begin + int64(float64(i)*1e9 / *rate)
		alarm.waitUntil(due - early)
		lags = append(lags, max(now()-due, 0))
		put(stream, uint64(i+1), due)
		if s := int((now() - begin) / 1e9); s > told {
			told = s
			fmt.Println(s)
		}
	}
	used = cpu() - used
	waitForAll(all, uint64(puts+1))
	select {
	case <-stream.PublishAsyncComplete():
	case <-time.After(arrive):
		die("the last puts were not answered")
	}
	figures(all, lags, used)
}
