package sim

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// A server that closes each connection after an answer, and hasn't said so, is forgiven
// if the connection was idle, and only then.
func TestResend(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	closed := make(chan struct{}, 1)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) // the other side says what is missing
			}
			_ = conn.Close()
			closed <- struct{}{}
		}
	}()
	l := line{address: listener.Addr().String()}
	defer l.close()
	request := appendPost(nil, l.address, pathUpdates, jsonType, nil, nil)
	var answer fasthttp.Response
	ask := func() error { return l.ask(request, &answer) }
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	<-closed
	l.last = l.last.Add(-2 * idle)
	if err := ask(); err != nil {
		t.Fatalf("after a while: %v", err)
	}
	<-closed
	l.last = time.Now()
	if err := ask(); err == nil || !gone(err) {
		t.Errorf("at once: %v, and the connection was closed", err)
	}
}
