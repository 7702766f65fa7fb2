package server_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

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
	const read, write, idle, slack = 10 * time.Minute, 20 * time.Minute, 75 * time.Minute, 10 * time.Minute / 16
	under := &recorder{}
	c := server.LazyConn(under, read, write, idle)
	does := func(what string, then func([]byte) (int, error)) {
		t.Helper()
		if n, err := then(make([]byte, 3)); n != 3 || err != nil {
			t.Fatalf("%s: %d, %v", what, n, err)
		}
	}
	sets := func(what string, set func(time.Time) error, at time.Time) {
		t.Helper()
		if err := set(at); err != nil {
			t.Fatalf("%s: %v", what, err)
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
	answered := func() {
		t.Helper()
		server.Answers(c, time.Now())
		does("answer", c.Write)
		server.Turn(c, fasthttp.StateIdle)
	}
	// A hundred requests of which each arrives in one piece.
	server.Turn(c, fasthttp.StateActive)
	does("the first request", c.Read)
	for range 100 {
		answered()
		does("wait for a request", c.Read)
		server.Turn(c, fasthttp.StateActive)
	}
	if len(under.read) != 2 || len(under.write) != 1 {
		t.Fatalf("%d read and %d write deadlines were set for 100 requests, want two and one", len(under.read), len(under.write))
	}
	within("first", under.read[0], read)
	within("idle", under.read[1], idle)
	within("write", under.write[0], write)
	// The rest of a request has less time, and so has the next that is idle. However many
	// pieces it comes in, it is one time for all.
	does("the rest of a request", c.Read)
	within("read", under.read[2], read)
	for range 10 {
		does("more of it", c.Read)
	}
	if len(under.read) != 3 {
		t.Errorf("%d deadlines were set for the pieces of a request, want one", len(under.read)-2)
	}
	answered()
	does("wait for a request", c.Read)
	within("idle again", under.read[3], idle)
	// A long deadline that is nearly over won't do for less.
	sets("a little less", c.SetReadDeadline, time.Now().Add(idle-20*time.Second))
	does("a little less", c.Read)
	within("a little less", under.read[4], idle-20*time.Second)
	// No deadline, and one again.
	for range 2 {
		sets("no deadline", c.SetDeadline, time.Time{})
		does("no deadline", c.Read)
		does("no deadline", c.Write)
	}
	if len(under.read) != 6 || len(under.write) != 2 || !under.read[5].IsZero() || !under.write[1].IsZero() {
		t.Errorf("no deadline: %v %v, want it set once", under.read, under.write)
	}
	sets("a deadline", c.SetDeadline, time.Now().Add(read))
	does("a deadline", c.Read)
	within("read after none", under.read[6], read)
	// One that is over is not put off.
	sets("over", c.SetReadDeadline, time.Now().Add(-time.Second))
	does("over", c.Read)
	if d := time.Until(under.read[7]); d > 0 {
		t.Errorf("a deadline that is over was set %v ahead", d)
	}
	// An answer to a request that had arrived some time ago has so much less.
	secret := tls.Server(c, &tls.Config{}) // under TLS fasthttp knows that one
	server.Turn(secret, fasthttp.StateActive)
	server.Answers(secret, time.Now().Add(-15*time.Minute))
	does("a late answer", c.Write)
	within("a late answer", under.write[2], write-15*time.Minute)
	server.Turn(secret, fasthttp.StateIdle)
	does("the rest after it", c.Read)
	within("the rest after it", under.read[8], idle-15*time.Minute)
	under.fails = errors.New("closed")
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(nil); !errors.Is(err, under.fails) {
		t.Errorf("Read where no deadline can be set: %v", err)
	}
	if _, err := c.Write(nil); !errors.Is(err, under.fails) {
		t.Errorf("Write where no deadline can be set: %v", err)
	}
}

// What nobody has spoken about yet has the time of a request: a handshake too.
func TestANewConnectionHasDeadlines(t *testing.T) {
	const read, write, idle = 10 * time.Minute, 20 * time.Minute, 75 * time.Minute
	under := &recorder{}
	c := server.LazyConn(under, read, write, idle)
	began := time.Now()
	for range 3 {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if len(under.read) != 1 || len(under.write) != 1 {
		t.Fatalf("%d read and %d write deadlines were set, want one each", len(under.read), len(under.write))
	}
	if at := under.read[0]; at.Before(began.Add(read)) || at.After(time.Now().Add(read+read/16)) {
		t.Errorf("the first read ends %v after the connection began, want %v", at.Sub(began), read)
	}
	if at := under.write[0]; at.Before(began.Add(write)) || at.After(time.Now().Add(write+read/16)) {
		t.Errorf("the first write ends %v after the connection began, want %v", at.Sub(began), write)
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
	c, err := server.LazyListener(l, time.Minute, time.Minute, time.Minute).Accept()
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
	c := server.LazyConn(&recorder{}, time.Minute, time.Minute, time.Minute)
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

// BenchmarkLazyConn is what the timeouts of a request cost: beside the deadlines as
// fasthttp asks for them, with three looks at the clock.
func BenchmarkLazyConn(b *testing.B) {
	const length = 10 * time.Second
	piece := make([]byte, 1)
	request := func(b *testing.B, c net.Conn) {
		if _, err := c.Read(piece); err != nil {
			b.Fatal(err)
		}
	}
	answer := func(b *testing.B, c net.Conn) {
		if _, err := c.Write(piece); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("kept by itself", func(b *testing.B) {
		c := server.LazyConn(&recorder{}, length, length, length)
		now := time.Now()
		b.ReportAllocs()
		for b.Loop() {
			request(b, c)
			server.Turn(c, fasthttp.StateActive)
			server.Answers(c, now)
			answer(b, c)
			server.Turn(c, fasthttp.StateIdle)
		}
	})
	b.Run("asked for", func(b *testing.B) {
		c := server.LazyConn(&recorder{}, length, length, length)
		ask := func(set func(time.Time) error) {
			if err := set(time.Now().Add(length)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			ask(c.SetReadDeadline)
			request(b, c)
			ask(c.SetReadDeadline)
			ask(c.SetWriteDeadline)
			answer(b, c)
		}
	})
}
