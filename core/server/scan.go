package server

import (
	"encoding/binary"
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
	q.Apps = append(q.Apps, market.App{})
	app := &q.Apps[len(q.Apps)-1]
	if n := plainApp(s.b[s.i:], app); n > 0 {
		s.i += n
		return true
	}
	if !s.take('{') {
		return false
	}
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

// plainApp reads an app that is written as devices mostly do, and says how many bytes
// that are; none where it is written otherwise.
func plainApp(b []byte, app *market.App) int {
	const itemKey, versionKey, keyEnd = `{"appleItemId":"`, `","appleVersionI`, `d":"` // no longer than what is compared without a call
	if len(b) < len(itemKey) || string(b[:len(itemKey)]) != itemKey {
		return 0
	}
	item := b[len(itemKey):]
	n, itemLen := digits(item)
	rest := item[itemLen:]
	const behind = len(versionKey) + len(keyEnd)
	if itemLen == 0 || len(rest) < behind || string(rest[:len(versionKey)]) != versionKey || string(rest[len(versionKey):behind]) != keyEnd {
		return 0
	}
	version := rest[behind:]
	v, versionLen := digits(version)
	if rest = version[versionLen:]; versionLen == 0 || len(rest) < 2 || rest[0] != '"' || rest[1] != '}' {
		return 0
	}
	app.Item, app.Version = n, v
	app.ItemText, app.VersionText = unsafe.String(&item[0], itemLen), unsafe.String(&version[0], versionLen)
	return len(itemKey) + itemLen + behind + versionLen + len(`"}`)
}

// digits reads a number and says how many digits it has, none where there are so many
// that it may be too large.
func digits(b []byte) (n uint64, length int) {
	const most = 19
	if len(b) >= 8 {
		if eight, ok := eightDigits(binary.LittleEndian.Uint64(b)); ok {
			n, length = eight, 8
		}
	}
	for ; length < len(b); length++ {
		d := b[length] - '0'
		if d > 9 {
			return n, length
		}
		if length == most {
			return 0, 0
		}
		n = n*10 + uint64(d)
	}
	return n, length
}

// eightDigits is the number of eight characters, the first in the lowest byte, if all
// are digits. Neighbours are joined to numbers of two, four and eight digits.
func eightDigits(c uint64) (n uint64, ok bool) {
	const high = 0xf0f0f0f0f0f0f0f0 // of a digit 3, and still so with 6 more
	if c&high|(c+0x0606060606060606)&high>>4 != 0x3333333333333333 {
		return 0, false
	}
	c = c & 0x0f0f0f0f0f0f0f0f * (10<<8 + 1) >> 8
	c = c & 0x00ff00ff00ff00ff * (100<<16 + 1) >> 16
	return c & 0x0000ffff0000ffff * (10000<<32 + 1) >> 32, true
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
	from := s.b[s.i:]
	if v, length := digits(from); length > 0 && length < len(from) && from[length] == '"' {
		*text, *n = unsafe.String(&from[0], length), v
		s.i += length + 1
		return true
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
