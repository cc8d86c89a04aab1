// amqp091-go against a broker. Prints `ok NAME` or `FAIL NAME: why` per test; see
// compat/harness/report.py.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"crypto/rand"
	"encoding/hex"

	amqp "github.com/rabbitmq/amqp091-go"
)

const patience = 15 * time.Second

// errSkipped is wrapped by a test that does not hold for this broker.
var errSkipped = errors.New("skipped")

// A test gets a connection of its own.
type test struct {
	name string
	run  func(connection *amqp.Connection) error
}

func url() string {
	if given := os.Getenv("AMQP_URL"); given != "" {
		return given
	}
	return "amqp://guest:guest@localhost:5672/%2F"
}

func unique(name string) string {
	random := make([]byte, 4)
	_, _ = rand.Read(random)
	return "go." + name + "." + hex.EncodeToString(random)
}

// broker asks the runner to do that to the broker, and waits until it is done.
func broker(verb string) error {
	said, err := exec.Command(os.Getenv("COMPAT_TOOL"), verb).CombinedOutput()
	if err != nil {
		return fmt.Errorf("broker %s: %w: %s", verb, err, said)
	}
	return nil
}

// take waits for the next value of a channel.
func take[T any](from <-chan T, what string) (T, error) {
	var nothing T
	select {
	case value, open := <-from:
		if !open {
			return nothing, fmt.Errorf("closed while waiting for %s", what)
		}
		return value, nil
	case <-time.After(patience):
		return nothing, fmt.Errorf("no %s within %s", what, patience)
	}
}

func equal[T comparable](what string, got, wanted T) error {
	if got != wanted {
		return fmt.Errorf("%s: got %v, wanted %v", what, got, wanted)
	}
	return nil
}

// code is the AMQP reply code of an error.
func code(err error) int {
	var refused *amqp.Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return 0
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
		if err := run(each); errors.Is(err, errSkipped) {
			fmt.Printf("skip %s: %s\n", each.name, err)
		} else if err != nil {
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

func run(each test) error {
	connection, err := amqp.Dial(url())
	if err != nil {
		return err
	}
	// A test may have ended it, or its broker.
	defer func() { _ = connection.Close() }()
	return each.run(connection)
}
