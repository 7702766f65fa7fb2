package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"sync/atomic"
	"time"
)

// Recorder keeps decisions. It is called from one goroutine, beside the requests.
// It may keep nothing of what it is given.
type Recorder interface {
	// Plugins says who is asked from now on, in the order in which they are asked.
	Plugins([]RecordedPlugin) error
	Record(*Decision) error
}

// RecordedPlugin is a plugin that decisions are recorded of.
type RecordedPlugin struct {
	Name         string   `json:"name"`
	SHA256       string   `json:"sha256"`        // of the module
	ConfigSHA256 string   `json:"config_sha256"` // of what the module was configured with, as JSON
	Hooks        []string `json:"hooks"`
	OnError      string   `json:"on_error"`
}

// Decision is one question of a request, what each plugin made of it, and what it
// came to.
type Decision struct {
	*Inquiry
	At       time.Time
	Verdicts []Verdict // in the order of the plugins; those that were swapped meanwhile may be missing at the end
	Outcomes []Outcome
}

// Recording says how much was recorded.
type Recording struct {
	Recorded uint64 `json:"recorded"`
	Missed   uint64 `json:"missed"` // came too fast, or were too large
	Failed   uint64 `json:"failed"` // could not be written
	Error    string `json:"error"`  // of the last one, "" = it was written
}

type recording struct {
	recorded, missed, failed atomic.Uint64
	last                     atomic.Pointer[string] // nil = the last one was written
	of                       uint64                 // the set whose plugins the recorder knows; of the worker
}

// Recording says how much was recorded; nil = nobody records.
func (h *Host) Recording() *Recording {
	r := &h.watch.recording
	if h.watch.recorder == nil {
		return nil
	}
	i := &Recording{Recorded: r.recorded.Load(), Missed: r.missed.Load(), Failed: r.failed.Load()}
	if last := r.last.Load(); last != nil {
		i.Error = *last
	}
	return i
}

// record hands a question to the recorder. All of the chain is in it, so that it
// tells what happens if a plugin answers otherwise: what the request didn't come
// to asking is asked dry.
func (l *looked) record() {
	d := &Decision{Inquiry: l.Inquiry, At: l.at}
	chain := l.set.chains[l.Hook]
	for _, g := range chain {
		if _, ok := l.verdicts[g]; !ok && !l.current() {
			break
		}
		v := l.of(g)
		if v.tape != nil && v.tape.over {
			l.recording.missed.Add(1)
			return
		}
		d.Verdicts = append(d.Verdicts, v)
	}
	d.Outcomes = l.Resolve(d.Verdicts, len(chain) > 0, l.host.rules)
	if err := l.write(d); err != nil {
		text := err.Error()
		if l.recording.last.Swap(&text) == nil {
			l.host.loader.log.Error("decisions can't be recorded", "error", err)
		}
		l.recording.failed.Add(1)
		return
	}
	l.recording.last.Store(nil)
	l.recording.recorded.Add(1)
}

func (l *looked) write(d *Decision) error {
	if l.recording.of != l.set.number {
		if err := l.recorder.Plugins(l.set.recorded()); err != nil {
			return err
		}
		l.recording.of = l.set.number
	}
	return l.recorder.Record(d)
}

func (s *set) recorded() []RecordedPlugin {
	list := []RecordedPlugin{}
	for _, g := range s.all {
		if g.spec.Shadow {
			continue
		}
		config := sha256.Sum256(g.config)
		p := RecordedPlugin{
			Name: g.name, SHA256: hex.EncodeToString(g.hash[:]), ConfigSHA256: hex.EncodeToString(config[:]), Hooks: []string{}, OnError: g.spec.OnError,
		}
		for _, hook := range g.hooks {
			p.Hooks = append(p.Hooks, hook.String())
		}
		list = append(list, p)
	}
	return list
}
