package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func replace(where, what, by string) string {
	return strings.Replace(where, what, by, 1)
}

// session is what a program makes anew whenever its connection is lost.
type session struct {
	connection *amqp.Connection
	channel    *amqp.Channel
	messages   <-chan amqp.Delivery
	closed     chan *amqp.Error
}

// connect tries again until the broker is there: the library leaves that to its users.
func connect(queue string) (*session, error) {
	end := time.Now().Add(4 * patience)
	for {
		made, err := open(queue)
		if err == nil {
			return made, nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("never again: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func open(queue string) (*session, error) {
	connection, err := amqp.Dial(url())
	if err != nil {
		return nil, err
	}
	made := &session{connection: connection, closed: connection.NotifyClose(make(chan *amqp.Error, 1))}
	if made.channel, err = connection.Channel(); err != nil {
		return nil, err
	}
	if err = made.channel.Confirm(false); err != nil {
		return nil, err
	}
	if err = made.channel.Qos(10, 0, false); err != nil {
		return nil, err
	}
	if _, err = made.channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		return nil, err
	}
	made.messages, err = made.channel.Consume(queue, "", false, false, false, false, nil)
	return made, err
}

// publish returns when the message is confirmed.
func (s *session) publish(queue, body string) error {
	confirmation, err := s.channel.PublishWithDeferredConfirm("", queue, false, false, text(body))
	if err != nil {
		return err
	}
	select {
	case <-confirmation.Done():
		return equal("confirmed", confirmation.Acked(), true)
	case <-time.After(patience):
		return fmt.Errorf("not confirmed: %s", body)
	}
}

func reconnects(verb string) error {
	if verb == "crash" && os.Getenv("COMPAT_BROKER") == "rabbitmq" {
		return fmt.Errorf("%w: RabbitMQ 3 may forget a queue that was declared seconds before SIGKILL", errSkipped)
	}
	queue := unique("reconnect")
	session, err := connect(queue)
	if err != nil {
		return err
	}
	for number := 0; number < 20; number++ {
		if err = session.publish(queue, strconv.Itoa(number)); err != nil {
			return err
		}
	}
	for number := 0; number < 5; number++ {
		message, err := take(session.messages, "message")
		if err != nil {
			return err
		}
		if err = message.Ack(false); err != nil {
			return err
		}
	}
	// The acks are settled when a publish sent after them on their channel is confirmed.
	if err = session.publish(queue, "20"); err != nil {
		return err
	}
	for number := 5; number < 15; number++ {
		if _, err = take(session.messages, "message"); err != nil {
			return err
		}
	}
	done := make(chan error, 1)
	go func() { done <- broker(verb) }()
	select {
	case reason := <-session.closed:
		// Told when the broker stops in peace, not when it is killed.
		if verb == "restart" && (reason == nil || reason.Code != amqp.ConnectionForced) {
			return fmt.Errorf("closed with %v", reason)
		}
	case <-time.After(4 * patience):
		return fmt.Errorf("the loss of the connection is not noticed")
	}
	if err = <-done; err != nil {
		return err
	}
	if session, err = connect(queue); err != nil {
		return err
	}
	defer func() { _ = session.connection.Close() }()
	for number := 5; number < 21; number++ {
		message, err := take(session.messages, "message")
		if err != nil {
			return err
		}
		if err = equal("kept", string(message.Body), strconv.Itoa(number)); err != nil {
			return err
		}
		// Those that had been out are marked; after a crash the others may be.
		if number < 15 && !message.Redelivered {
			return fmt.Errorf("%s is not marked as redelivered", message.Body)
		}
		if err = message.Ack(false); err != nil {
			return err
		}
	}
	if err = session.publish(queue, "after"); err != nil {
		return err
	}
	message, err := take(session.messages, "message")
	if err != nil {
		return err
	}
	if err = equal("after", string(message.Body), "after"); err != nil {
		return err
	}
	if err = message.Ack(false); err != nil {
		return err
	}
	left, err := session.channel.QueueDelete(queue, false, false, false)
	if err != nil {
		return err
	}
	return equal("left", left, 0)
}
