package child

import (
	"bytes"
	"sync"
)

// Tail keeps the end of what is written to it.
type Tail struct {
	mu  sync.Mutex
	end []byte
}

// TailSize is how many bytes it keeps.
const TailSize = 8 << 10

// Write implements io.Writer.
func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, b...)
	if over := len(t.end) - TailSize; over > 0 {
		t.end = append(t.end[:0], t.end[over:]...)
	}
	return len(b), nil
}

// Text is what was kept, on lines of its own.
func (t *Tail) Text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.end) == 0 {
		return ""
	}
	return "\n" + string(bytes.TrimSpace(t.end))
}
