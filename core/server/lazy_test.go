package server_test

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/server"
)

// recorder is a connection that notes the deadlines it is given.
type recorder struct {
	net.Conn
	read, write []time.Time
	fails       error
}

func (r *recorder) Read(b []byte) (int, error)  { return len(b), nil }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (r *recorder) SetReadDeadline(t time.Time) error {
	r.read = append(r.read, t)
	return r.fails
}
func (r *recorder) SetWriteDeadline(t time.Time) error {
	r.write = append(r.write, t)
	return r.fails
}

func TestDeadlinesAreSetWhenSomebodyWaits(t *testing.T) {
	const idle, read, write, slack = 75 * time.Minute, 10 * time.Minute, 20 * time.Minute, 10 * time.Minute / 16
	under := &recorder{}
	c := server.LazyConn(under, slack)
	do := func(what string, set func(time.Time) error, d time.Duration, then func([]byte) (int, error)) {
		t.Helper()
		at := time.Time{}
		if d != 0 {
			at = time.Now().Add(d)
		}
		if err := set(at); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if then == nil {
			return
		}
		if n, err := then(make([]byte, 3)); n != 3 || err != nil {
			t.Fatalf("%s: %d, %v", what, n, err)
		}
	}
	within := func(what string, got time.Time, d time.Duration) {
		t.Helper()
		left := time.Until(got)
		if left < d-time.Minute || left > d+slack+time.Second {
			t.Errorf("%s: the deadline is in %v, want %v and little more", what, left, d)
		}
		if left < d-time.Second { // this much the test itself took
			t.Errorf("%s: the deadline is in %v, want not before %v", what, left, d)
		}
	}
	// As fasthttp does with a hundred requests of which each arrives in one piece.
	for range 100 {
		do("wait for a request", c.SetReadDeadline, idle, c.Read)
		do("a request began", c.SetReadDeadline, read, nil)
		do("answer", c.SetWriteDeadline, write, c.Write)
	}
	if len(under.read) != 1 || len(under.write) != 1 {
		t.Fatalf("%d read and %d write deadlines were set for 100 requests, want one each", len(under.read), len(under.write))
	}
	within("idle", under.read[0], idle)
	within("write", under.write[0], write)
	// The rest of a request has less time, and so has the next that is idle.
	do("the rest of a request", c.SetReadDeadline, read, c.Read)
	within("read", under.read[1], read)
	do("wait for a request", c.SetReadDeadline, idle, c.Read)
	within("idle again", under.read[2], idle)
	// A long deadline that is nearly over won't do for less.
	do("a little less", c.SetReadDeadline, idle-20*time.Second, c.Read)
	within("a little less", under.read[3], idle-20*time.Second)
	// No deadline, and one again.
	for range 2 {
		do("no deadline", c.SetDeadline, 0, c.Read)
		do("no deadline", c.SetDeadline, 0, c.Write)
	}
	if len(under.read) != 5 || len(under.write) != 2 || !under.read[4].IsZero() || !under.write[1].IsZero() {
		t.Errorf("no deadline: %v %v, want it set once", under.read, under.write)
	}
	do("a deadline", c.SetDeadline, read, c.Read)
	within("read after none", under.read[5], read)
	// One that is over is not put off.
	do("over", c.SetReadDeadline, -time.Second, c.Read)
	if d := time.Until(under.read[6]); d > 0 {
		t.Errorf("a deadline that is over was set %v ahead", d)
	}
	under.fails = errors.New("closed")
	if err := c.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(nil); !errors.Is(err, under.fails) {
		t.Errorf("Read where no deadline can be set: %v", err)
	}
	if _, err := c.Write(nil); !errors.Is(err, under.fails) {
		t.Errorf("Write where no deadline can be set: %v", err)
	}
}

// Over a real connection a deadline ends the wait.
func TestALazyDeadlineEndsTheWait(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := server.LazyListener(l, time.Second).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	if err := c.SetReadDeadline(began.Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) < 50*time.Millisecond {
		t.Errorf("Read ended after %v with %v, want a deadline of 50 ms", time.Since(began), err)
	}
	// Another one makes it usable again.
	if _, err := client.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("Read after another deadline: %d, %v", n, err)
	}
}

// Closing a TLS connection asks for a deadline while its goroutine sets one.
func TestALazyDeadlineIsAskedForByOthers(t *testing.T) {
	c := server.LazyConn(&recorder{}, time.Second)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			for range 1000 {
				if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if _, err := c.Write([]byte{1}); err != nil {
		t.Error(err)
	}
	both.Wait()
}
