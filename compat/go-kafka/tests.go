package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

var tests = []struct {
	name string
	run  func(*world)
}{
	{"a record comes back as it was", roundTrip},
	{"every compression", compression},
	{"acks 0, 1 and all", acks},
	{"an idempotent producer keeps order with many requests in flight", idempotent},
	{"a group rebalances: range", func(w *world) { rebalances(w, kgo.RangeBalancer()) }},
	{"a group rebalances: sticky", func(w *world) { rebalances(w, kgo.StickyBalancer()) }},
	{"a group rebalances: cooperative sticky", func(w *world) { rebalances(w, kgo.CooperativeStickyBalancer()) }},
	{"a static member comes back without a rebalance", staticMember},
	{"commits are where the next member begins", commits},
	{"clients go on after a restart", func(w *world) { goesOn(w, "restart") }},
	{"clients go on after a crash", func(w *world) { goesOn(w, "crash") }},
	{"committed is seen and aborted is not", transactions},
	{"a group session commits records and offsets together", groupSession},
	{"an older producer of the same id is fenced", fenced},
	{"a transaction goes on after a crash", transactionOverCrash},
	{"pitfall 5: epochs are those of the offsets", epochs},
	{"pitfall 6: an epoch of the future is refused", futureEpoch},
	{"pitfall 7: a batch whose answer was lost is not doubled", lostAnswers},
	{"pitfall 9: what was asked before has the same answer again", askedTwice},
	{"admin: topics, settings, records", adminTopics},
	{"admin: groups, lag, offsets", adminGroups},
	{"admin: open transactions are described", adminTransactions},
	{"a topic made anew under its old name is read from its beginning", madeAnew},
	{"SASL PLAIN", login},
}

func roundTrip(w *world) {
	topic, client := w.topic("record", 1), w.client()
	sent := &kgo.Record{
		Topic: topic, Key: []byte("key"), Value: []byte("value"), Timestamp: time.Now().Add(-time.Minute).Truncate(time.Millisecond),
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte{}}, {Key: "null"}},
	}
	check(client.ProduceSync(w.ctx, sent, &kgo.Record{Topic: topic, Key: []byte("tombstone")}).FirstErr())
	got := w.take(w.client(kgo.ConsumeTopics(topic)), 2)
	equal("key, value", string(got[0].Key)+string(got[0].Value), "keyvalue")
	equal("headers", got[0].Headers, sent.Headers)
	equal("null header", got[0].Headers[2].Value == nil, true)
	equal("time", got[0].Timestamp.UnixMilli(), sent.Timestamp.UnixMilli())
	equal("tombstone", got[1].Value == nil, true)
	equal("offset", got[1].Offset, 1)
}

func compression(w *world) {
	for number, codec := range []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	} {
		topic := w.topic("compressed", 1)
		w.send(w.client(kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner())), topic, numbers(0, 1_000)...)
		records := w.take(w.client(kgo.ConsumeTopics(topic)), 1_000)
		equal("values", values(records), numbers(0, 1_000))
		// Pitfall 23: what was compressed by the producer stays as it is.
		equal("codec", records[0].Attrs.CompressionType(), uint8(number))
	}
}

func acks(w *world) {
	topic := w.topic("acks", 1)
	for from, level := range map[int]kgo.Acks{0: kgo.NoAck(), 100: kgo.LeaderAck()} {
		w.send(w.client(kgo.RequiredAcks(level), kgo.DisableIdempotentWrite()), topic, numbers(from, from+100)...)
	}
	w.send(w.client(), topic, numbers(200, 300)...)
	equal("count", len(w.take(w.client(kgo.ConsumeTopics(topic)), 300)), 300)
}

func idempotent(w *world) {
	topic := w.topic("idempotent", 1)
	client := w.client(kgo.ProducerBatchMaxBytes(1_024), kgo.ProducerLinger(0))
	for _, value := range numbers(0, 5_000) {
		client.Produce(w.ctx, &kgo.Record{Topic: topic, Value: []byte(value)}, func(_ *kgo.Record, err error) { check(err) })
	}
	check(client.Flush(w.ctx))
	equal("values", values(w.take(w.client(kgo.ConsumeTopics(topic)), 5_000)), numbers(0, 5_000))
}

func rebalances(w *world, balancer kgo.GroupBalancer) {
	topic, producer := w.topic("rebalance", 4), w.client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	first := w.member(topic, topic, kgo.Balancers(balancer))
	first.has(4)
	second := w.member(topic, topic, kgo.Balancers(balancer))
	second.has(2)
	first.has(2)
	w.send(producer, topic, numbers(0, 40)...)
	all := append(first.got(10), second.got(10)...)
	slices.Sort(all)
	wanted := numbers(0, 40)
	slices.Sort(wanted)
	for len(all) < 40 {
		all = append(first.got(len(first.got(0))), second.got(len(second.got(0)))...)
		slices.Sort(all)
	}
	equal("all records", all, wanted)
	second.CloseAllowingRebalance()
	first.has(4)
	before := len(first.got(0))
	w.send(producer, topic, numbers(40, 44)...)
	first.got(before + 4)
}

func staticMember(w *world) {
	topic := w.topic("static", 2)
	first := w.member(topic, topic, kgo.InstanceID("one"))
	first.has(2)
	second := w.member(topic, topic, kgo.InstanceID("two"))
	first.has(1)
	second.has(1)
	generation := must(w.admin.DescribeGroups(w.ctx, topic))[topic]
	equal("state", generation.State, "Stable")
	// Closing a static member does not leave the group.
	second.CloseAllowingRebalance()
	third := w.member(topic, topic, kgo.InstanceID("two"))
	third.has(1)
	_, was := first.GroupMetadata()
	_, is := third.GroupMetadata()
	equal("generation", is, was)
	equal("partitions of the first", len(first.assigned), 1)
}

func commits(w *world) {
	topic := w.topic("commits", 1)
	w.send(w.client(), topic, numbers(0, 10)...)
	group := []kgo.Opt{kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic)}
	client := w.client(append(group, kgo.DisableAutoCommit())...)
	records := w.take(client, 10)
	check(client.CommitRecords(w.ctx, records[:6]...))
	client.CloseAllowingRebalance()
	found := must(w.admin.FetchOffsets(w.ctx, topic))
	committed, _ := found.Lookup(topic, 0)
	equal("offset and epoch", fmt.Sprint(committed.At, committed.LeaderEpoch), fmt.Sprint(6, records[5].LeaderEpoch))
	client = w.client(group...)
	equal("the rest", values(w.take(client, 4)), numbers(6, 10))
}

func goesOn(w *world, verb string) {
	topic, producer := w.topic(verb, 2), w.client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	w.send(producer, topic, numbers(0, 50)...)
	m := w.member(topic, topic, kgo.DisableAutoCommit())
	m.got(50)
	check(m.CommitUncommittedOffsets(w.ctx))

	broker(verb)

	w.send(producer, topic, numbers(50, 100)...)
	seen := m.got(100)
	slices.Sort(seen)
	wanted := numbers(0, 100)
	slices.Sort(wanted)
	// Not one is missing, and none that was committed comes again.
	equal("all records", seen, wanted)
	m.CloseAllowingRebalance()
	// The connection that the old one would use died with the broker, which it does not try again for.
	found := must(kadm.NewClient(w.client()).FetchOffsets(w.ctx, topic))
	sum := int64(0)
	found.Each(func(offset kadm.OffsetResponse) { sum += offset.At })
	equal("committed", sum, 50)
}

func transactions(w *world) {
	topic := w.topic("transactions", 1)
	client := w.client(kgo.TransactionalID(topic))
	for attempt := range 6 {
		check(client.BeginTransaction())
		w.send(client, topic, numbers(attempt*10, attempt*10+10)...)
		check(client.EndTransaction(w.ctx, kgo.TransactionEndTry(attempt%2 == 0)))
	}
	w.send(w.client(), topic, "end")
	wanted := append(append(append(numbers(0, 10), numbers(20, 30)...), numbers(40, 50)...), "end")
	equal("committed", w.upTo(topic, "end", kgo.ReadCommitted()), wanted)
	equal("all", w.upTo(topic, "end", kgo.ReadUncommitted()), append(numbers(0, 60), "end"))
}

func groupSession(w *world) {
	in, out := w.topic("in", 2), w.topic("out", 1)
	w.send(w.client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), in, numbers(0, 100)...)
	session := must(kgo.NewGroupTransactSession(append(common(),
		kgo.TransactionalID(in), kgo.ConsumerGroup(in), kgo.ConsumeTopics(in), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets())...))
	defer session.Close()
	done := 0
	for round := 0; done < 100; round++ {
		records := session.PollRecords(w.ctx, 10).Records()
		if len(records) == 0 {
			continue
		}
		check(session.Begin())
		for _, record := range records {
			check(session.ProduceSync(w.ctx, &kgo.Record{Topic: out, Value: record.Value}).FirstErr())
		}
		// Every third attempt is given up and made again.
		committed := must(session.End(w.ctx, kgo.TransactionEndTry(round%3 != 2)))
		if committed {
			done += len(records)
		}
	}
	w.send(w.client(), out, "end")
	got := w.upTo(out, "end", kgo.ReadCommitted())
	slices.Sort(got)
	wanted := append(numbers(0, 100), "end")
	slices.Sort(wanted)
	equal("exactly once", got, wanted)
}

func fenced(w *world) {
	topic := w.topic("fenced", 1)
	old, latest := w.client(kgo.TransactionalID(topic)), w.client(kgo.TransactionalID(topic))
	check(old.BeginTransaction())
	w.send(old, topic, "old")
	check(latest.BeginTransaction())
	w.send(latest, topic, "new")
	problem := old.EndTransaction(w.ctx, kgo.TryCommit)
	is := errors.Is(problem, kerr.ProducerFenced) || errors.Is(problem, kerr.InvalidProducerEpoch)
	equal(fmt.Sprintf("fenced (%v)", problem), is, true)
	check(latest.EndTransaction(w.ctx, kgo.TryCommit))
	equal("committed", w.upTo(topic, "new", kgo.ReadCommitted()), []string{"new"})
}

func transactionOverCrash(w *world) {
	topic := w.topic("crash", 1)
	client := w.client(kgo.TransactionalID(topic))
	for from, commit := range []bool{true, false, true} {
		check(client.BeginTransaction())
		w.send(client, topic, fmt.Sprint(from*2))
		broker("crash")
		w.send(client, topic, fmt.Sprint(from*2+1))
		check(client.EndTransaction(w.ctx, kgo.TransactionEndTry(commit)))
	}
	equal("committed", w.upTo(topic, "5", kgo.ReadCommitted()), []string{"0", "1", "4", "5"})
}

func epochs(w *world) {
	topic := w.topic("epochs", 1)
	empty, _ := must(w.admin.ListEndOffsets(w.ctx, topic)).Lookup(topic, 0)
	equal("offset of an empty log", empty.Offset, 0)
	w.send(w.client(), topic, numbers(0, 10)...)
	first := w.take(w.client(kgo.ConsumeTopics(topic)), 1)[0]
	broker("crash")
	w.send(w.client(), topic, numbers(10, 12)...)
	start, _ := must(w.admin.ListStartOffsets(w.ctx, topic)).Lookup(topic, 0)
	equal("epoch of the first record", start.LeaderEpoch, first.LeaderEpoch)
	asked := kadm.OffsetForLeaderEpochRequest{}
	asked.Add(topic, 0, first.LeaderEpoch)
	end := must(w.admin.OffsetForLeaderEpoch(w.ctx, asked))[topic][0]
	check(end.Err)
	// It ends where the next one begins, and not below what was acknowledged.
	equal("end of the epoch", end.EndOffset >= 10, true)
	latest, _ := must(w.admin.ListEndOffsets(w.ctx, topic)).Lookup(topic, 0)
	equal("epochs do not go back", latest.LeaderEpoch >= first.LeaderEpoch, true)
}

func futureEpoch(w *world) {
	topic := w.topic("future", 1)
	request := kmsg.NewPtrListOffsetsRequest()
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp = -1
	for _, try := range []struct {
		epoch int32
		code  int16
	}{{-1, 0}, {1_000, kerr.UnknownLeaderEpoch.Code}} {
		part.CurrentLeaderEpoch = try.epoch
		in := kmsg.NewListOffsetsRequestTopic()
		in.Topic, in.Partitions = topic, []kmsg.ListOffsetsRequestTopicPartition{part}
		request.Topics = []kmsg.ListOffsetsRequestTopic{in}
		answer := must(w.client().Broker(1).RetriableRequest(w.ctx, request)).(*kmsg.ListOffsetsResponse)
		equal("code", answer.Topics[0].Partitions[0].ErrorCode, try.code)
	}
}

const produceKey = 0

func lostAnswers(w *world) {
	topic, armed := w.topic("lost", 1), new(atomic.Int32)
	client := w.client(loseAnswer(produceKey, armed), kgo.ProducerBatchMaxBytes(1_024), kgo.ProducerLinger(0))
	for round := range 5 {
		armed.Store(1)
		for _, value := range numbers(round*200, round*200+200) {
			client.Produce(w.ctx, &kgo.Record{Topic: topic, Value: []byte(value)}, func(_ *kgo.Record, err error) {
				if err != nil {
					fmt.Println("produce:", err)
				}
			})
		}
		check(client.Flush(w.ctx))
		equal("answers lost", armed.Load(), 0)
	}
	w.send(client, topic, "end")
	equal("each once, in order", w.upTo(topic, "end", kgo.ReadCommitted()), append(numbers(0, 1_000), "end"))
}

func askedTwice(w *world) {
	topic, id := w.topic("twice", 1), unique("id")
	// What clients of the first transaction protocol send.
	client := w.client(kgo.MaxVersions(kversion.V3_0_0()))
	begin := kmsg.NewPtrInitProducerIDRequest()
	begin.TransactionalID, begin.TransactionTimeoutMillis = &id, 60_000
	producer := must(begin.RequestWith(w.ctx, client))
	check(kerr.ErrorForCode(producer.ErrorCode))
	for range 2 {
		add := kmsg.NewPtrAddPartitionsToTxnRequest()
		add.TransactionalID, add.ProducerID, add.ProducerEpoch = id, producer.ProducerID, producer.ProducerEpoch
		in := kmsg.NewAddPartitionsToTxnRequestTopic()
		in.Topic, in.Partitions = topic, []int32{0}
		add.Topics = []kmsg.AddPartitionsToTxnRequestTopic{in}
		answer := must(add.RequestWith(w.ctx, client))
		equal("code of adding", answer.Topics[0].Partitions[0].ErrorCode, 0)
	}
	for _, try := range []struct {
		commit bool
		code   int16
	}{{true, 0}, {true, 0}, {false, kerr.InvalidTxnState.Code}} {
		end := kmsg.NewPtrEndTxnRequest()
		end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = id, producer.ProducerID, producer.ProducerEpoch, try.commit
		code := kerr.ConcurrentTransactions.Code
		for code == kerr.ConcurrentTransactions.Code {
			// The markers of the first are still on their way.
			code = must(end.RequestWith(w.ctx, client)).ErrorCode
		}
		equal("code of ending", code, try.code)
	}
}

func adminTopics(w *world) {
	topic := w.topic("admin", 2)
	_, problem := w.admin.CreateTopic(w.ctx, 1, 1, nil, topic)
	equal("made twice", errors.Is(problem, kerr.TopicAlreadyExists), true)
	must(w.admin.UpdatePartitions(w.ctx, 3, topic))
	setting := func() string {
		for _, each := range must(must(w.admin.DescribeTopicConfigs(w.ctx, topic)).On(topic, nil)).Configs {
			if each.Key == "retention.ms" {
				return each.MaybeValue()
			}
		}
		return "?"
	}
	equal("default", setting(), "604800000")
	must(w.admin.AlterTopicConfigs(w.ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("60000")}}, topic))
	for setting() != "60000" {
		check(w.ctx.Err())
	}
	w.send(w.client(kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		return func(*kgo.Record, int) int { return 1 }
	}))), topic, numbers(0, 10)...)
	before := kadm.Offsets{}
	before.AddOffset(topic, 1, 4, -1)
	check(must(w.admin.DeleteRecords(w.ctx, before)).Error())
	start, _ := must(w.admin.ListStartOffsets(w.ctx, topic)).Lookup(topic, 1)
	end, _ := must(w.admin.ListEndOffsets(w.ctx, topic)).Lookup(topic, 1)
	equal("offsets", []int64{start.Offset, end.Offset}, []int64{4, 10})
	cluster := must(w.admin.BrokerMetadata(w.ctx))
	equal("cluster", cluster.Cluster != "" && len(cluster.Brokers) == 1 && cluster.Controller == cluster.Brokers[0].NodeID, true)
	must(w.admin.DeleteTopic(w.ctx, topic))
	for must(w.admin.ListTopics(w.ctx)).Has(topic) {
		check(w.ctx.Err())
	}
}

func adminGroups(w *world) {
	topic := w.topic("groups", 1)
	w.send(w.client(), topic, numbers(0, 10)...)
	m := w.member(topic, topic, kgo.DisableAutoCommit())
	m.got(10)
	equal("listed", slices.Contains(must(w.admin.ListGroups(w.ctx)).Groups(), topic), true)
	check(m.CommitUncommittedOffsets(w.ctx))
	w.send(w.client(), topic, numbers(10, 13)...)
	lag := must(w.admin.Lag(w.ctx, topic))[topic]
	equal("lag", fmt.Sprint(lag.State, ": ", lag.Lag.Total()), "Stable: 3")
	m.CloseAllowingRebalance()
	to := kadm.Offsets{}
	to.AddOffset(topic, 0, 11, -1)
	check(w.admin.CommitAllOffsets(w.ctx, topic, to))
	client := w.client(kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic))
	equal("the rest", values(w.take(client, 2)), numbers(11, 13))
	client.CloseAllowingRebalance()
	deleted := must(w.admin.DeleteOffsets(w.ctx, topic, kadm.TopicsSet{topic: {0: {}}}))
	check(deleted.Error())
	_, found := must(w.admin.FetchOffsets(w.ctx, topic)).Lookup(topic, 0)
	equal("offset is gone", found, false)
	must(w.admin.DeleteGroups(w.ctx, topic))
	equal("listed", slices.Contains(must(w.admin.ListGroups(w.ctx)).Groups(), topic), false)
}

func adminTransactions(w *world) {
	topic := w.topic("open", 1)
	client := w.client(kgo.TransactionalID(topic))
	check(client.BeginTransaction())
	w.send(client, topic, "1")
	found := must(w.admin.DescribeTransactions(w.ctx, topic))[topic]
	check(found.Err)
	equal("state", found.State, "Ongoing")
	equal("topics", found.Topics.Topics(), []string{topic})
	producers := must(w.admin.DescribeProducers(w.ctx, kadm.TopicsSet{topic: {0: {}}}))
	equal("producer", producers.SortedProducers()[0].ProducerID, found.ProducerID)
	check(client.EndTransaction(w.ctx, kgo.TryAbort))
}

// Offsets and epochs of a topic that is gone say nothing about its namesake.
func madeAnew(w *world) {
	topic, producer := w.topic("anew", 1), w.client()
	w.send(producer, topic, numbers(0, 10)...)
	w.take(w.client(kgo.ConsumeTopics(topic)), 10)
	must(w.admin.DeleteTopic(w.ctx, topic))
	for must(w.admin.ListTopics(w.ctx)).Has(topic) {
		check(w.ctx.Err())
	}
	must(w.admin.CreateTopic(w.ctx, 1, 1, nil, topic))
	w.send(w.client(kgo.UnknownTopicRetries(-1)), topic, numbers(20, 25)...)
	equal("values", values(w.take(w.client(kgo.ConsumeTopics(topic)), 5)), numbers(20, 25))
}

func login(w *world) {
	topic := w.topic("sasl", 1)
	as := func(password string) *kgo.Client {
		mechanism := plain.Auth{User: "guest", Pass: password}.AsMechanism()
		return w.client(kgo.SASL(mechanism), kgo.SeedBrokers(from("KAFKA_SASL_BOOTSTRAP", bootstrap)), kgo.RequestRetries(0))
	}
	w.send(as("guest"), topic, "in")
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	equal("refused", errors.Is(as("no").Ping(ctx), kerr.SaslAuthenticationFailed), true)
}
