package server

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// shortServer is a Server that can scan and count, and makes a mistake at each check: it
// has no market.
func shortServer(log io.Writer) *Server {
	s := scanning("", "")
	s.counts, s.sheds, s.pressure = newCounts(), newSheds(), NewPressure(PressureOptions{})
	s.log = slog.New(slog.NewTextHandler(log, nil))
	return s
}

const shortCheck = "POST /updates HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n" +
	`{"apps":[],"platform":"iOS","osVersion":"26.1"}       `

// A mistake of ours costs one answer, and neither the connection nor the process.
func TestShortWaySurvivesAMistake(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := shortServer(&log)
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := newLazyConn(ours, timeouts{time.Minute, time.Minute, time.Minute})
	for n := 1; n <= 2; n++ {
		answer := make(chan string, 1)
		go func() {
			b := make([]byte, 4096)
			read, _ := theirs.Read(b)
			answer <- string(b[:read])
		}()
		if answered, err := s.shortly(c, []byte(shortCheck)); !answered || err != nil {
			t.Fatalf("answered: %v, %v", answered, err)
		}
		if got := <-answer; !strings.HasPrefix(got, "HTTP/1.1 500 ") || !strings.HasSuffix(got, `{"error":"the server made a mistake"}`) {
			t.Errorf("the answer is\n%s", got)
		}
		if got := strings.Count(log.String(), "msg=panic path=/updates"); got != n {
			t.Errorf("the log has %d panics, want %d:\n%s", got, n, log.String())
		}
		if all := s.Counts(); len(all) != 1 || all[0].Status != fasthttp.StatusInternalServerError || all[0].Requests != uint64(n) || s.Short() != uint64(n) {
			t.Errorf("counted are %+v, %d of them on the short way; want %d with 500", all, s.Short(), n)
		}
	}
}

// An answer that doesn't leave ends the connection.
func TestShortWayEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	s := shortServer(io.Discard)
	ours, theirs := net.Pipe()
	theirs.Close()
	c := newLazyConn(ours, timeouts{time.Minute, time.Minute, time.Minute})
	if answered, err := s.shortly(c, []byte(shortCheck)); !answered || err == nil {
		t.Errorf("answered: %v, %v, want an error", answered, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if answered, err := s.shortly(c, []byte(shortCheck)); answered || err != nil {
		t.Errorf("a closed connection answered: %v, %v", answered, err)
	}
}
