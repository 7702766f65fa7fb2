package core

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// scarce fails as a listener does while the process has too many files open.
type scarce struct {
	net.Listener
	failures []error
}

func (l *scarce) Accept() (net.Conn, error) {
	if len(l.failures) > 0 {
		err := l.failures[0]
		l.failures = l.failures[1:]
		return nil, err
	}
	a, b := net.Pipe()
	_ = b.Close()
	return a, nil
}

func (*scarce) Addr() net.Addr { return &net.TCPAddr{} }

// TestShortageDoesNotEndTheServer: whoever opens many connections must not be
// able to end it.
func TestShortageDoesNotEndTheServer(t *testing.T) {
	var log strings.Builder
	accept := func(err error) *net.OpError {
		return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
	}
	l := patient{&scarce{failures: []error{accept(syscall.EMFILE), accept(syscall.ENFILE), accept(syscall.ENOBUFS)}}, slog.New(slog.NewTextHandler(&log, nil))}
	conn, err := l.Accept()
	if err != nil {
		t.Fatalf("Accept in a shortage: %v, want it to wait", err)
	}
	_ = conn.Close()
	if n := strings.Count(log.String(), "limits.connections"); n != 1 {
		t.Errorf("the shortage was logged %d times, want once: %s", n, log.String())
	}
	l = patient{&scarce{failures: []error{net.ErrClosed}}, slog.New(slog.DiscardHandler)}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v, want that it is closed", err)
	}
}
