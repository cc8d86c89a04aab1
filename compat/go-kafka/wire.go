package main

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"
)

// loseAnswer is a dialer whose connections lose the answer to a request of this kind, once for each
// time that `armed` is raised: the broker has done what was asked, and the client cannot know.
func loseAnswer(key uint16, armed *atomic.Int32) kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		var dialer net.Dialer
		connection, err := dialer.DialContext(ctx, network, host)
		return &lossy{Conn: connection, key: key, armed: armed}, err
	})
}

type lossy struct {
	net.Conn
	key   uint16
	armed *atomic.Int32
	cut   atomic.Bool
}

func (l *lossy) Write(frame []byte) (int, error) {
	// Length, then the number of the API.
	if len(frame) > 6 && binary.BigEndian.Uint16(frame[4:]) == l.key && l.armed.Load() > 0 {
		l.armed.Add(-1)
		l.cut.Store(true)
	}
	return l.Conn.Write(frame)
}

func (l *lossy) Read(into []byte) (int, error) {
	count, err := l.Conn.Read(into)
	if l.cut.Load() {
		_ = l.Conn.Close()
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	return count, err
}
