package server

import (
	"unsafe"

	"github.com/souk-market/souk/core/market"
)

// scanner reads the body that devices send, and nothing else: the known keys,
// each once, in any order, with plain strings. At the first thing that it does
// not expect it gives up and says nothing about the body: encoding/json decides.
// So it can only ever be quicker, never of another opinion.
type scanner struct {
	b []byte
	i int
}

// scanApps fills q.Apps and returns platform and system version. The strings
// alias body.
func scanApps(body []byte, limit int, q *market.Request) (platform, os string, ok bool) {
	s := scanner{b: body}
	var haveApps, havePlatform, haveOS bool
	if !s.take('{') {
		return "", "", false
	}
	for {
		key, ok := s.key()
		if !ok {
			return "", "", false
		}
		switch key {
		case apps:
			if haveApps || !s.apps(limit, q) {
				return "", "", false
			}
			haveApps = true
		case platforms:
			if platform, ok = s.text(); !ok || havePlatform {
				return "", "", false
			}
			havePlatform = true
		case systems:
			if os, ok = s.text(); !ok || haveOS {
				return "", "", false
			}
			haveOS = true
		}
		if s.take(',') {
			continue
		}
		if !s.take('}') {
			return "", "", false
		}
		s.space()
		return platform, os, s.i == len(s.b) && haveApps && havePlatform && haveOS
	}
}

// The keys of a body.
const (
	apps = iota
	platforms
	systems
)

// key reads a key of the body and its colon.
func (s *scanner) key() (key int, ok bool) {
	switch {
	case s.literal(`"apps":`):
		return apps, true
	case s.literal(`"platform":`):
		return platforms, true
	case s.literal(`"osVersion":`):
		return systems, true
	}
	switch text, ok := s.text(); { // with white space, if at all
	case !ok || !s.take(':'):
		return 0, false
	case text == "apps":
		return apps, true
	case text == "platform":
		return platforms, true
	case text == "osVersion":
		return systems, true
	}
	return 0, false
}

func (s *scanner) apps(limit int, q *market.Request) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for {
		if len(q.Apps) == limit || !s.app(q) {
			return false
		}
		if s.take(',') {
			continue
		}
		return s.take(']')
	}
}

func (s *scanner) app(q *market.Request) bool {
	if !s.take('{') {
		return false
	}
	q.Apps = append(q.Apps, market.App{})
	app := &q.Apps[len(q.Apps)-1]
	for {
		var known bool
		switch {
		case s.literal(`"appleItemId":"`):
			known = s.id(&app.ItemText, &app.Item)
		case s.literal(`"appleVersionId":"`):
			known = s.id(&app.VersionText, &app.Version)
		default:
			known = s.spaced(app)
		}
		if !known {
			return false
		}
		if s.take(',') {
			continue
		}
		return s.take('}') && app.ItemText != ""
	}
}

// spaced reads a key of an app, white space around it, and its id.
func (s *scanner) spaced(app *market.App) bool {
	key, ok := s.text()
	if !ok || !s.take(':') || !s.take('"') {
		return false
	}
	switch key {
	case "appleItemId":
		return s.id(&app.ItemText, &app.Item)
	case "appleVersionId":
		return s.id(&app.VersionText, &app.Version)
	}
	return false
}

// id reads an id behind its quote, if there was none before.
func (s *scanner) id(text *string, n *uint64) bool {
	if *text != "" {
		return false
	}
	// Digits as they mostly are: so few that no number is too large.
	const most = 19
	v, from := uint64(0), s.b[s.i:]
	for i, c := range from[:min(len(from), most+1)] {
		if d := c - '0'; d <= 9 {
			v = v*10 + uint64(d)
			continue
		}
		if c == '"' && i > 0 {
			*text, *n = unsafe.String(&from[0], i), v
			s.i += i + 1
			return true
		}
		break
	}
	t, ok := s.rest()
	if !ok || t == "" || len(t) > maxID {
		return false
	}
	*text, *n = t, number(t)
	return true
}

// literal skips these bytes, if they come next.
func (s *scanner) literal(want string) bool {
	if b := s.b[s.i:]; len(b) >= len(want) && string(b[:len(want)]) == want {
		s.i += len(want)
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// take skips white space and one character, if it is there.
func (s *scanner) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c { // most often there is no white space
		s.i++
		return true
	}
	return s.takeSpaced(c)
}

func (s *scanner) takeSpaced(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// text reads a string of plain ASCII without escapes.
func (s *scanner) text() (string, bool) {
	if !s.take('"') {
		return "", false
	}
	return s.rest()
}

// rest reads the rest of such a string and its quote.
func (s *scanner) rest() (string, bool) {
	for from := s.i; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			t := s.b[from:s.i]
			s.i++
			return unsafe.String(unsafe.SliceData(t), len(t)), true
		case c == '\\' || c < 0x20 || c >= 0x80:
			return "", false
		}
	}
	return "", false
}
