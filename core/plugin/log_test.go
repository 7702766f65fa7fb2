package plugin_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

func TestGuestLog(t *testing.T) {
	var j journal
	s := fullSpec(t)
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open, Log: j.logger()})
	entitle(t, h, 1, abi.Head{Account: "log"})
	for _, want := range []string{
		`level=WARN msg="plugin log" plugin=full hook=entitle text="a line\\x1b[31m with colour"`,
		`level=INFO msg="plugin log" plugin=full hook=entitle text="standard output"`,
		`level=WARN msg="plugin log" plugin=full hook=entitle text="standard error, no newline"`,
	} {
		if !strings.Contains(j.String(), want) {
			t.Errorf("log:\n%swant %s", j.String(), want)
		}
	}
}

// logging is a guest that writes 4 lines of 4 KiB a question.
func logging() []byte {
	g := newGuest().imported("souk", "log", "iii", "")
	g.put(8192, []byte(strings.Repeat("x", 4096)))
	line := "i32.const 2 i32.const 8192 i32.const 4096 call log "
	return g.hook("entitle", strings.Repeat(line, 4)+g.put(1024, decisions(allow))).wasm()
}

func TestLogIsLimited(t *testing.T) {
	var j journal
	var now atomic.Int64
	s := spec("chatty", logging())
	s.Allow = []string{"log"}
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, Log: j.logger(), Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	lines := func() int { return strings.Count(j.String(), "xxxx\n") }
	for range 10 { // 160 KiB
		entitle(t, h, 1, abi.Head{})
	}
	first := lines()
	if first < 14 || first > 16 {
		t.Errorf("%d lines of 4 KiB in the first second, want some 64 KiB", first)
	}
	now.Store(1)
	for range 10 {
		entitle(t, h, 1, abi.Head{})
	}
	if second := lines() - first; second < 14 || second > 16 {
		t.Errorf("%d lines of 4 KiB in the second second, want some 64 KiB", second)
	}
	if want := `msg="plugin log: lines dropped" plugin=chatty lines=25`; !strings.Contains(j.String(), want) {
		t.Errorf("want the log to say %s", want)
	}
}

func TestFailuresAreLoggedInBounds(t *testing.T) {
	var j journal
	h := open(t, plugin.Options{
		Specs: []plugin.Spec{policy("a", "entitle", []byte("trap"), "")}, Log: j.logger(),
		Now: func() time.Time { return time.Unix(0, 0) },
	})
	for range 50 {
		entitle(t, h, 1, abi.Head{})
	}
	if n := strings.Count(j.String(), "plugin failed"); n != 10 {
		t.Errorf("%d of 50 failures are logged, want 10", n)
	}
	wantFailure(t, h, "a", "entitle", plugin.KindTrap, 50)
}

func TestWhatPeopleTypeIsNotLogged(t *testing.T) {
	var j journal
	s := fullSpec(t)
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open, Log: j.logger()})
	for _, what := range []string{"leak", "panic"} {
		c := h.Acquire()
		c.SignIn.LoginHint = what
		c.SignIn.Method = abi.SignInSubmit
		c.SignIn.Fields = append(c.SignIn.Fields, abi.SubmittedField{Name: "password", Value: "correct horse"})
		c.AskSignIn(t.Context(), "full")
		c.Release()
	}
	log := j.String() + h.Plugins()[0].LastFailure
	if strings.Contains(log, "correct") || strings.Contains(log, "horse") {
		t.Errorf("the password is in the log:\n%s", log)
	}
	c := h.Acquire()
	c.SignIn.LoginHint, c.SignIn.Method = "leak", abi.SignInCallback
	c.SignIn.Fields = []abi.SubmittedField{{Name: "error", Value: "somebody"}, {Name: "password", Value: "battery"}}
	c.AskSignIn(t.Context(), "full")
	c.Release()
	if log := j.String(); strings.Count(log, "somebody typed […]") != 2 || strings.Contains(log, "battery") {
		t.Errorf("log:\n%swant the error of another provider, and nothing else that it sent", log)
	}
	if !strings.Contains(log, "somebody typed […]") || !strings.Contains(log, "panic: bad password […]") {
		t.Errorf("log:\n%swant the rest of the lines", log)
	}
}
