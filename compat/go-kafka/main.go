// franz-go against a broker. Prints `ok NAME` or `FAIL NAME: why` per test; see
// compat/harness/report.py.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 15 * time.Second

var bootstrap = from("KAFKA_BOOTSTRAP", "localhost:9092")

func from(variable, otherwise string) string {
	if given := os.Getenv(variable); given != "" {
		return given
	}
	return otherwise
}

// world is what one test uses. What goes wrong in it is a panic, which ends the test.
type world struct {
	ctx     context.Context
	admin   *kadm.Client
	clients []func()
}

func unique(name string) string {
	random := make([]byte, 4)
	_, _ = rand.Read(random)
	return "go." + name + "." + hex.EncodeToString(random)
}

// broker asks the runner to do that to the broker, and waits until it is done.
func broker(verb string) {
	said, err := exec.Command(os.Getenv("COMPAT_TOOL"), verb).CombinedOutput()
	if err != nil {
		panic(fmt.Errorf("broker %s: %w: %s", verb, err, said))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func equal[T any](what string, got, wanted T) {
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		panic(fmt.Errorf("%s: got %v, wanted %v", what, got, wanted))
	}
}

func numbers(from, to int) []string {
	list := []string{}
	for number := from; number < to; number++ {
		list = append(list, strconv.Itoa(number))
	}
	return list
}

func (w *world) client(options ...kgo.Opt) *kgo.Client {
	client := must(kgo.NewClient(append(common(), options...)...))
	w.clients = append(w.clients, client.CloseAllowingRebalance)
	return client
}

// common is franz-go as it is, but for its pauses between attempts.
func common() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
}

func (w *world) topic(name string, partitions int32) string {
	topic := unique(name)
	must(w.admin.CreateTopic(w.ctx, partitions, 1, nil, topic))
	// In Kafka the controller knows it a little earlier than the broker that clients ask.
	for {
		if found := must(w.admin.ListTopics(w.ctx, topic))[topic]; len(found.Partitions) == int(partitions) {
			return topic
		}
	}
}

// send produces values to one partition and waits until they are acknowledged.
func (w *world) send(client *kgo.Client, topic string, values ...string) {
	records := []*kgo.Record{}
	for _, value := range values {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(value)})
	}
	check(client.ProduceSync(w.ctx, records...).FirstErr())
}

// take waits for that many records.
func (w *world) take(client *kgo.Client, count int) []*kgo.Record {
	records := []*kgo.Record{}
	for len(records) < count {
		fetches := client.PollFetches(w.ctx)
		check(fetches.Err0())
		fetches.EachRecord(func(record *kgo.Record) { records = append(records, record) })
	}
	return records
}

func values(records []*kgo.Record) []string {
	list := []string{}
	for _, record := range records {
		list = append(list, string(record.Value))
	}
	return list
}

// upTo is every value of a topic up to that one, as seen with this isolation.
func (w *world) upTo(topic, end string, isolation kgo.IsolationLevel) []string {
	client := w.client(kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(isolation))
	defer client.Close()
	seen := []string{}
	for !slices.Contains(seen, end) {
		seen = append(seen, values(w.take(client, 1))...)
	}
	return seen
}

// member is a consumer in a group, polled in the background.
type member struct {
	*kgo.Client
	mutex    sync.Mutex
	changed  *sync.Cond
	assigned map[int32]bool
	seen     []string
}

func (w *world) member(topic, group string, options ...kgo.Opt) *member {
	m := &member{assigned: map[int32]bool{}}
	m.changed = sync.NewCond(&m.mutex)
	change := func(owned bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			for _, partition := range topics[topic] {
				if delete(m.assigned, partition); owned {
					m.assigned[partition] = true
				}
			}
			m.changed.Broadcast()
		}
	}
	m.Client = w.client(append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.HeartbeatInterval(200 * time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
	}, options...)...)
	go func() {
		for {
			fetches := m.PollFetches(w.ctx)
			if fetches.IsClientClosed() || w.ctx.Err() != nil {
				return
			}
			m.mutex.Lock()
			fetches.EachRecord(func(record *kgo.Record) { m.seen = append(m.seen, string(record.Value)) })
			m.changed.Broadcast()
			m.mutex.Unlock()
		}
	}()
	return m
}

// until waits for a condition on what the member was given.
func (m *member) until(what string, holds func() bool) {
	late := false
	timer := time.AfterFunc(patience, func() {
		m.mutex.Lock()
		late = true
		m.changed.Broadcast()
		m.mutex.Unlock()
	})
	defer timer.Stop()
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for !holds() {
		if late {
			panic(fmt.Errorf("not in time: %s (%d partitions, %d records)", what, len(m.assigned), len(m.seen)))
		}
		m.changed.Wait()
	}
}

func (m *member) has(partitions int) {
	m.until(fmt.Sprintf("%d partitions", partitions), func() bool { return len(m.assigned) == partitions })
}

func (m *member) got(records int) []string {
	m.until(fmt.Sprintf("%d records", records), func() bool { return len(m.seen) >= records })
	return slices.Clone(m.seen)
}

func main() {
	wanted := ""
	if len(os.Args) > 1 {
		wanted = os.Args[1]
	}
	failed := 0
	for _, each := range tests {
		if !strings.Contains(each.name, wanted) {
			continue
		}
		if err := run(each.run); err != nil {
			failed++
			fmt.Printf("FAIL %s: %s\n", each.name, strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Printf("ok %s\n", each.name)
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func run(test func(*world)) (problem error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	w := &world{ctx: ctx}
	w.admin = kadm.NewClient(w.client())
	defer func() {
		if what := recover(); what != nil {
			debug.PrintStack()
			problem = fmt.Errorf("%v", what)
		}
		for _, end := range slices.Backward(w.clients) {
			end()
		}
	}()
	test(w)
	return nil
}
