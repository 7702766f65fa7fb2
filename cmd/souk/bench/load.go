package bench

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// client is what stands behind one connection: it knows what to ask next, and
// whether an answer is right. It is asked by one goroutine at a time.
type client interface {
	// next appends a request, head and body.
	next(b []byte) []byte
	// take looks at the answer to it. An error ends the measurement: a rate of wrong
	// answers says nothing.
	take(r *fasthttp.Response) error
	// sample are requests that the bare handler is asked in turn: as long as those that
	// are next now, and as many as there are.
	sample() [][]byte
}

// way is how requests travel. The zero way is a connection that is kept.
type way struct {
	tls     bool // TLS 1.3
	fresh   bool // each request has a connection of its own
	resumed bool // whose handshake goes on where the one before it ended
}

// traffic keeps a server busy: each connection sends its next request when it has the
// answer to the one before.
type traffic struct {
	lines []*line
	sent  int // requests so far, also those that don't count
}

// line is a connection, or one after the other.
type line struct {
	client  client
	address string
	way     way
	tls     *tls.Config // nil = plain
	tried   int         // handshakes
	state   tls.ConnectionState
	conn    net.Conn
	until   time.Time // by which there has to be an answer
	in      *bufio.Reader
	out     []byte
	answer  fasthttp.Response
	bytes   int // of the bodies of all answers
	answers int
	took    []time.Duration // of each request that counts
	err     error
}

// answerWithin is how long the slowest answer may take; it is a mistake then.
const answerWithin = 30 * time.Second

// connect opens a connection for each client.
func connect(address string, clients []client, w way, settings *tls.Config) (*traffic, error) {
	l := &traffic{}
	for _, c := range clients {
		x := &line{client: c, address: address, way: w, in: bufio.NewReaderSize(nil, 4<<10)}
		if w.tls {
			x.tls = settings.Clone()
			if w.resumed {
				x.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
		}
		l.lines = append(l.lines, x)
		if w.fresh {
			continue
		}
		if err := x.dial(); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *traffic) close() {
	for _, x := range l.lines {
		if x.conn != nil {
			_ = x.conn.Close()
		}
	}
}

// run lets all connections ask for so long and returns how many answers there were.
// With count their times are kept.
func (l *traffic) run(length time.Duration, count bool) (turn, error) {
	var over atomic.Bool
	var answered atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for _, x := range l.lines {
		wg.Go(func() {
			n := 0
			x.until = began.Add(length + answerWithin)
			if !x.way.fresh {
				x.err = x.conn.SetDeadline(x.until)
			}
			for ; !over.Load() && x.err == nil; n++ {
				x.err = x.ask(count)
			}
			answered.Add(int64(n))
		})
	}
	end := time.AfterFunc(length, func() { over.Store(true) })
	defer end.Stop()
	wg.Wait()
	s := turn{requests: int(answered.Load()), took: time.Since(began)}
	l.sent += s.requests
	for _, x := range l.lines {
		if x.err != nil {
			return s, x.err
		}
	}
	return s, nil
}

// dial opens the connection.
func (x *line) dial() error {
	conn, err := net.Dial("tcp", x.address)
	if err != nil {
		return err
	}
	x.conn = conn
	if x.tls != nil {
		secure := tls.Client(conn, x.tls)
		if x.conn = secure; !x.until.IsZero() {
			err = conn.SetDeadline(x.until)
		}
		if err = errors.Join(err, secure.Handshake()); err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
		x.state = secure.ConnectionState()
		if want := x.way.resumed && x.tried > 0; x.state.Version != tls.VersionTLS13 || x.state.DidResume != want {
			return fmt.Errorf("a handshake came to %s, resumed: %t, and not to TLS 1.3, resumed: %t", tls.VersionName(x.state.Version), x.state.DidResume, want)
		}
		x.tried++
	} else if !x.until.IsZero() {
		if err := conn.SetDeadline(x.until); err != nil {
			return err
		}
	}
	x.in.Reset(x.conn)
	return nil
}

// ask sends one request and looks at its answer.
func (x *line) ask(count bool) error {
	x.out = x.client.next(x.out[:0])
	began := time.Now()
	if x.way.fresh {
		if err := x.dial(); err != nil {
			return err
		}
		defer func() { _ = x.conn.Close() }() // the answer is there
	}
	if _, err := x.conn.Write(x.out); err != nil {
		return err
	}
	if err := x.answer.Read(x.in); err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	if count {
		x.took = append(x.took, time.Since(began))
	}
	x.bytes += len(x.answer.Body())
	x.answers++
	return x.client.take(&x.answer)
}

// times are those of all answers that counted.
func (l *traffic) times() (all []time.Duration) {
	for _, x := range l.lines {
		all = append(all, x.took...)
	}
	return all
}

// answerSize is how many bytes a body has had so far, on average.
func (l *traffic) answerSize() int {
	bytes, answers := 0, 0
	for _, x := range l.lines {
		bytes, answers = bytes+x.bytes, answers+x.answers
	}
	if answers == 0 {
		return 0
	}
	return (bytes + answers/2) / answers
}

// settings are what the last handshake of a connection has come to.
func (l *traffic) settings() string {
	s := l.lines[0].state
	return fmt.Sprintf("%s %s %s %s", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), s.CurveID, s.NegotiatedProtocol)
}

// appendPost appends what a device posts.
func appendPost(b []byte, host, path, mediaType string, body ...[]byte) []byte {
	length := 0
	for _, part := range body {
		length += len(part)
	}
	b = append(append(b, "POST "...), path...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	b = append(b, "\r\nAccept: */*\r\nAccept-Language: en-GB,en;q=0.9\r\nUser-Agent: ManagedAppDistribution/1.0 iOS/26.1 model/iPhone17,3 build/23B85\r\nContent-Type: "...)
	b = append(append(b, mediaType...), "\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(length), 10), "\r\n\r\n"...)
	for _, part := range body {
		b = append(b, part...)
	}
	return b
}

// echo asks the bare handler what another client asks Souk.
type echo struct {
	requests [][]byte
	at       int
	size     *int // of its answers
}

func (e *echo) next(b []byte) []byte {
	b = append(b, e.requests[e.at]...)
	e.at = (e.at + 1) % len(e.requests)
	return b
}

func (e *echo) sample() [][]byte { return e.requests }

func (e *echo) take(r *fasthttp.Response) error {
	if r.StatusCode() != 200 || len(r.Body()) != *e.size {
		return fmt.Errorf("the bare handler answered %d with %d bytes, not 200 with %d", r.StatusCode(), len(r.Body()), *e.size)
	}
	return nil
}

var errNoAnswers = errors.New("a slice has no answers in it: make it longer with --slice")
