package bench

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"slices"
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
}

// traffic keeps a server busy: each connection sends its next request when it has the
// answer to the one before.
type traffic struct {
	lines []*line
	sent  int // requests so far, also those that don't count
}

// line is a connection.
type line struct {
	client client
	conn   net.Conn
	in     *bufio.Reader
	out    []byte
	answer fasthttp.Response
	took   []time.Duration // of each request that counts
	err    error
}

// answerWithin is how long the slowest answer may take; it is a mistake then.
const answerWithin = 30 * time.Second

// connect opens a connection for each client.
func connect(address string, clients []client) (*traffic, error) {
	l := &traffic{}
	for _, c := range clients {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			l.close()
			return nil, err
		}
		l.lines = append(l.lines, &line{client: c, conn: conn, in: bufio.NewReaderSize(conn, 4<<10)})
	}
	return l, nil
}

func (l *traffic) close() {
	for _, x := range l.lines {
		_ = x.conn.Close()
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
			if x.err = x.conn.SetDeadline(began.Add(length + answerWithin)); x.err == nil {
				for ; !over.Load() && x.err == nil; n++ {
					x.err = x.ask(count)
				}
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

// ask sends one request and looks at its answer.
func (x *line) ask(count bool) error {
	x.out = x.client.next(x.out[:0])
	began := time.Now()
	if _, err := x.conn.Write(x.out); err != nil {
		return err
	}
	if err := x.answer.Read(x.in); err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	if count {
		x.took = append(x.took, time.Since(began))
	}
	return x.client.take(&x.answer)
}

// times are those of all answers that counted.
func (l *traffic) times() (all []time.Duration) {
	for _, x := range l.lines {
		all = append(all, x.took...)
	}
	return all
}

// answerSize is the middle size of the answers' bodies, of the last of each
// connection.
func (l *traffic) answerSize() int {
	sizes := make([]float64, len(l.lines))
	for i, x := range l.lines {
		sizes[i] = float64(len(x.answer.Body()))
	}
	slices.Sort(sizes)
	return int(middle(sizes))
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

// echo asks the bare handler: always the same, as long as a request to Souk.
type echo struct {
	request []byte
	size    *int // of its answers
}

func (e *echo) next(b []byte) []byte { return append(b, e.request...) }

func (e *echo) take(r *fasthttp.Response) error {
	if r.StatusCode() != 200 || len(r.Body()) != *e.size {
		return fmt.Errorf("the bare handler answered %d with %d bytes, not 200 with %d", r.StatusCode(), len(r.Body()), *e.size)
	}
	return nil
}

var errNoAnswers = errors.New("a slice has no answers in it: make it longer with --slice")
