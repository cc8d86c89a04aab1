package main

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var tests = []test{
	{"confirms of a burst, and its order", confirms},
	{"NotifyPublish numbers its confirms and tells nacks", notifyPublish},
	{"NotifyReturn comes before the confirm", notifyReturn},
	{"acks, nacks, prefetch", acks},
	{"properties and tables come back", properties},
	{"bodies up to 4 MiB", bodies},
	{"errors carry their codes", failures},
	{"NotifyCancel when the queue goes", notifyCancel},
	{"topics and exchange to exchange", routing},
	{"transactions", transactions},
	{"reconnects after a restart", func(*amqp.Connection) error { return reconnects("restart") }},
	{"reconnects after a crash", func(*amqp.Connection) error { return reconnects("crash") }},
}

var background = context.Background()

func text(body string) amqp.Publishing {
	return amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent}
}

func own(channel *amqp.Channel) (string, error) {
	queue, err := channel.QueueDeclare("", false, true, true, false, nil)
	return queue.Name, err
}

func confirms(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	queue := unique("confirms")
	if _, err = channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		return err
	}
	if err = channel.Confirm(false); err != nil {
		return err
	}
	waiting := []*amqp.DeferredConfirmation{}
	for number := 0; number < 2000; number++ {
		confirmation, err := channel.PublishWithDeferredConfirm("", queue, false, false, text(strconv.Itoa(number)))
		if err != nil {
			return err
		}
		waiting = append(waiting, confirmation)
	}
	soon, cancel := context.WithTimeout(background, patience)
	defer cancel()
	for _, each := range waiting {
		if acked, err := each.WaitContext(soon); err != nil || !acked {
			return fmt.Errorf("confirm %d: %v %w", each.DeliveryTag, acked, err)
		}
	}
	messages, err := channel.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for number := 0; number < 2000; number++ {
		message, err := take(messages, "message")
		if err != nil {
			return err
		}
		if err = equal("order", string(message.Body), strconv.Itoa(number)); err != nil {
			return err
		}
		if err = message.Ack(false); err != nil {
			return err
		}
	}
	left, err := channel.QueueDelete(queue, false, false, false)
	if err != nil {
		return err
	}
	return equal("left", left, 0)
}

func notifyPublish(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	arguments := amqp.Table{"x-max-length": 2, "x-overflow": "reject-publish"}
	queue, err := channel.QueueDeclare("", false, true, true, false, arguments)
	if err != nil {
		return err
	}
	heard := channel.NotifyPublish(make(chan amqp.Confirmation, 8))
	if err = channel.Confirm(false); err != nil {
		return err
	}
	for number := uint64(1); number <= 3; number++ {
		if err = equal("next number", channel.GetNextPublishSeqNo(), number); err != nil {
			return err
		}
		if err = channel.PublishWithContext(background, "", queue.Name, false, false, text("x")); err != nil {
			return err
		}
		told, err := take(heard, "confirm")
		if err != nil {
			return err
		}
		if err = equal("confirm", told, amqp.Confirmation{DeliveryTag: number, Ack: number <= 2}); err != nil {
			return err
		}
	}
	return nil
}

func notifyReturn(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	returned := channel.NotifyReturn(make(chan amqp.Return, 1))
	if err = channel.Confirm(false); err != nil {
		return err
	}
	message := text("back to me")
	message.Headers = amqp.Table{"n": int32(1)}
	key := unique("nobody")
	confirmation, err := channel.PublishWithDeferredConfirm("amq.direct", key, true, false, message)
	if err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(background, patience)
	defer cancel()
	if acked, err := confirmation.WaitContext(soon); err != nil || !acked {
		return fmt.Errorf("confirmed: %v %w", acked, err)
	}
	// The return was there when the confirm came, so there is nothing to wait for.
	select {
	case got := <-returned:
		if got.ReplyCode != 312 || got.RoutingKey != key || string(got.Body) != "back to me" || got.Headers["n"] != int32(1) {
			return fmt.Errorf("returned %+v", got)
		}
		return nil
	default:
		return fmt.Errorf("confirmed before it was returned")
	}
}

func acks(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	queue, err := own(channel)
	if err != nil {
		return err
	}
	if err = channel.Qos(3, 0, false); err != nil {
		return err
	}
	for number := 0; number < 6; number++ {
		if err = channel.PublishWithContext(background, "", queue, false, false, text(strconv.Itoa(number))); err != nil {
			return err
		}
	}
	messages, err := channel.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	held := []amqp.Delivery{}
	for len(held) < 3 {
		message, err := take(messages, "message")
		if err != nil {
			return err
		}
		held = append(held, message)
	}
	state, err := channel.QueueDeclarePassive(queue, false, true, true, false, nil)
	if err != nil {
		return err
	}
	if state.Messages != 3 || state.Consumers != 1 || len(messages) != 0 {
		return fmt.Errorf("with a prefetch of 3: %+v and %d more", state, len(messages))
	}
	if err = held[2].Nack(false, true); err != nil {
		return err
	}
	again, err := take(messages, "message")
	if err != nil {
		return err
	}
	if string(again.Body) != "2" || !again.Redelivered {
		return fmt.Errorf("requeued: %s %v", again.Body, again.Redelivered)
	}
	if err = again.Ack(true); err != nil {
		return err
	}
	for _, wanted := range []string{"3", "4", "5"} {
		message, err := take(messages, "message")
		if err != nil {
			return err
		}
		if err = equal("next", string(message.Body), wanted); err != nil {
			return err
		}
	}
	return nil
}

func properties(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	queue, err := own(channel)
	if err != nil {
		return err
	}
	when := time.Unix(1_700_000_000, 0)
	sent := amqp.Publishing{
		Headers: amqp.Table{
			"bool": true, "byte": byte(7), "int8": int8(-1), "int16": int16(-2), "int32": int32(-3), "int64": int64(1) << 40,
			"float32": float32(0.5), "float64": 1.5, "decimal": amqp.Decimal{Scale: 2, Value: 314}, "text": "ž站",
			"bytes": []byte{0, 255}, "time": when, "nil": nil, "list": []any{int32(1), "two", amqp.Table{"three": int32(3)}},
			"table": amqp.Table{"a": amqp.Table{"b": "c"}},
		},
		ContentType: "a/b", ContentEncoding: "e", DeliveryMode: 2, Priority: 3, CorrelationId: "c", ReplyTo: "r",
		Expiration: "60000", MessageId: "m", Timestamp: when, Type: "t", UserId: "guest", AppId: "i", Body: []byte("body"),
	}
	if err = channel.PublishWithContext(background, "", queue, false, false, sent); err != nil {
		return err
	}
	messages, err := channel.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	got, err := take(messages, "message")
	if err != nil {
		return err
	}
	back := amqp.Publishing{
		Headers: got.Headers, ContentType: got.ContentType, ContentEncoding: got.ContentEncoding, DeliveryMode: got.DeliveryMode,
		Priority: got.Priority, CorrelationId: got.CorrelationId, ReplyTo: got.ReplyTo, Expiration: got.Expiration,
		MessageId: got.MessageId, Timestamp: got.Timestamp, Type: got.Type, UserId: got.UserId, AppId: got.AppId, Body: got.Body,
	}
	if !reflect.DeepEqual(back, sent) {
		return fmt.Errorf("got %+v, wanted %+v", back, sent)
	}
	return nil
}

func bodies(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	queue, err := own(channel)
	if err != nil {
		return err
	}
	messages, err := channel.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	for _, size := range []int{0, 1, 131_064, 131_065, 1 << 20, 4 << 20} {
		body := bytes.Repeat([]byte("yam!"), size/4+1)[:size]
		if err = channel.PublishWithContext(background, "", queue, false, false, amqp.Publishing{Body: body}); err != nil {
			return err
		}
		message, err := take(messages, "message")
		if err != nil {
			return err
		}
		if !bytes.Equal(message.Body, body) {
			return fmt.Errorf("a body of %d bytes came back as one of %d", size, len(message.Body))
		}
	}
	return nil
}

func failures(connection *amqp.Connection) error {
	queue := unique("differs")
	cases := []struct {
		code   int
		action func(channel *amqp.Channel) error
	}{
		{404, func(channel *amqp.Channel) error {
			_, err := channel.QueueDeclarePassive(unique("missing"), false, false, false, false, nil)
			return err
		}},
		{0, func(channel *amqp.Channel) error {
			_, err := channel.QueueDeclare(queue, false, true, true, false, nil)
			return err
		}},
		{406, func(channel *amqp.Channel) error {
			_, err := channel.QueueDeclare(queue, false, false, true, false, nil)
			return err
		}},
		{403, func(channel *amqp.Channel) error { return channel.ExchangeDelete("amq.direct", false, false) }},
		{404, func(channel *amqp.Channel) error { return channel.QueueBind(queue, "", unique("missing"), false, nil) }},
		{404, func(channel *amqp.Channel) error {
			closed := channel.NotifyClose(make(chan *amqp.Error, 1))
			if err := channel.PublishWithContext(background, unique("missing"), "", false, false, text("x")); err != nil {
				return err
			}
			reason, err := take(closed, "close of the channel")
			if err != nil {
				return err
			}
			return reason
		}},
	}
	for number, each := range cases {
		channel, err := connection.Channel()
		if err != nil {
			return err
		}
		if err = equal(fmt.Sprintf("case %d", number), code(each.action(channel)), each.code); err != nil {
			return err
		}
	}
	if connection.IsClosed() {
		return fmt.Errorf("the connection did not outlive the errors of its channels")
	}
	for user, wanted := range map[string]int{"guest:wrong@": 403, "nobody:guest@": 403} {
		if _, err := amqp.Dial(replace(url(), "guest:guest@", user)); code(err) != wanted {
			return fmt.Errorf("login of %s: %w", user, err)
		}
	}
	if _, err := amqp.Dial(replace(url(), "/%2F", "/nope")); err == nil {
		return fmt.Errorf("let into a virtual host that is not there")
	}
	return nil
}

func notifyCancel(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	queue := unique("cancelled")
	if _, err = channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		return err
	}
	cancelled := channel.NotifyCancel(make(chan string, 1))
	messages, err := channel.Consume(queue, "mine", true, false, false, false, nil)
	if err != nil {
		return err
	}
	other, err := connection.Channel()
	if err != nil {
		return err
	}
	if _, err = other.QueueDelete(queue, false, false, false); err != nil {
		return err
	}
	tag, err := take(cancelled, "cancel")
	if err != nil {
		return err
	}
	if _, err = take(messages, "message"); err == nil {
		return fmt.Errorf("a message from a queue that is gone")
	}
	return equal("tag", tag, "mine")
}

func routing(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	queue, err := own(channel)
	if err != nil {
		return err
	}
	topic, fanout := unique("topic"), unique("fanout")
	for name, kind := range map[string]string{topic: "topic", fanout: "fanout"} {
		if err = channel.ExchangeDeclare(name, kind, false, true, false, false, nil); err != nil {
			return err
		}
	}
	if err = channel.ExchangeBind(fanout, "#.error", topic, false, nil); err != nil {
		return err
	}
	if err = channel.QueueBind(queue, "", fanout, false, nil); err != nil {
		return err
	}
	for _, key := range []string{"error", "disk.error", "disk.info", "error.disk", "a.b.error"} {
		if err = channel.PublishWithContext(background, topic, key, false, false, text(key)); err != nil {
			return err
		}
	}
	messages, err := channel.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	for _, wanted := range []string{"error", "disk.error", "a.b.error"} {
		message, err := take(messages, "message")
		if err != nil {
			return err
		}
		if err = equal("routed", string(message.Body), wanted); err != nil {
			return err
		}
	}
	return channel.ExchangeUnbind(fanout, "#.error", topic, false, nil)
}

func transactions(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	queue, err := own(channel)
	if err != nil {
		return err
	}
	if err = channel.Tx(); err != nil {
		return err
	}
	steps := []struct {
		body string
		end  func() error
	}{{"dropped", channel.TxRollback}, {"kept", channel.TxCommit}}
	for _, step := range steps {
		if err = channel.PublishWithContext(background, "", queue, false, false, text(step.body)); err != nil {
			return err
		}
		if err = step.end(); err != nil {
			return err
		}
	}
	message, there, err := channel.Get(queue, true)
	if err != nil || !there {
		return fmt.Errorf("get: %v %w", there, err)
	}
	if err = equal("committed", string(message.Body), "kept"); err != nil {
		return err
	}
	return equal("left", message.MessageCount, 0)
}
