package server

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// checkHead is what an update check says above its body. Empty is what it doesn't say.
type checkHead struct {
	authorization []byte
	token         []byte // of Server.tokenHeader
	territory     []byte // of Server.territory
}

// scanCheck reads an update check that is there whole and alone, as devices and the
// proxies before them write it, and returns its body. At the first thing that it does not
// expect it gives up and says nothing about the request: fasthttp decides. The headers
// that make a difference to the answer are named here, and may be there once.
//
// hot: called for nearly every update check, and for what else comes over a connection
// without TLS (BenchmarkScanCheck).
func (s *Server) scanCheck(b []byte, h *checkHead) (body []byte, ok bool) {
	const line = "POST " + updatesPath + " HTTP/1.1\r\n"
	if len(b) < len(line) || string(b[:len(line)]) != line {
		return nil, false
	}
	b = b[len(line):]
	var host, media []byte
	length := -1
	for len(b) < 2 || b[0] != '\r' || b[1] != '\n' {
		var name, value []byte
		if name, value, b = headerLine(b); len(name) == 0 {
			return nil, false
		}
		// Whatever these two are called: the others may be, too.
		if named(name, s.tokenHeader) && !keepOnce(&h.token, value) ||
			named(name, s.territory) && !keepOnce(&h.territory, value) {
			return nil, false
		}
		ours := true
		switch {
		case named(name, "host"):
			ours = keepOnce(&host, value) && plainHost(value)
		case named(name, "content-type"):
			ours = keepOnce(&media, value) && string(value) == jsonType
		case named(name, "content-length"):
			n, read := digits(value)
			ours = length < 0 && read > 0 && read == len(value) && n <= uint64(s.limits.Body)
			length = int(n)
		case named(name, "authorization"):
			ours = keepOnce(&h.authorization, value)
		case named(name, "connection"):
			ours = bytes.EqualFold(value, keepAlive)
		case named(name, "transfer-encoding"), named(name, "content-encoding"), named(name, "expect"), named(name, "trailer"), named(name, "upgrade"):
			ours = false
		}
		if !ours {
			return nil, false
		}
	}
	body = b[2:]
	return body, len(host) > 0 && len(media) > 0 && length == len(body)
}

var keepAlive = []byte("keep-alive")

// keepOnce keeps a value, unless there was one before, or there is none.
func keepOnce(kept *[]byte, value []byte) bool {
	if len(*kept) > 0 || len(value) == 0 {
		return false
	}
	*kept = value
	return true
}

// named compares the name of a header without its case (RFC 9110 §5.1).
func named[T string | []byte](name []byte, want T) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		if w := want[i]; c != w && (c|0x20 != w|0x20 || !letter(c)) {
			return false
		}
	}
	return true
}

// headerLine reads "Name: value" and returns what is behind the end of the line, and no name
// where it is anything but a token and visible characters with spaces between them
// (RFC 9110 §5.5, §5.6.2).
func headerLine(b []byte) (name, value, rest []byte) {
	colon := 0
	for colon < len(b) && tokenByte[b[colon]] {
		colon++
	}
	if colon == len(b) || b[colon] != ':' {
		return nil, nil, nil
	}
	value = b[colon+1:]
	for len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	end := visible(value)
	if end+1 >= len(value) || value[end] != '\r' || value[end+1] != '\n' || end > 0 && value[end-1] == ' ' {
		return nil, nil, nil
	}
	return b[:colon], value[:end], value[end+2:]
}

// visible is how many characters there are before the first that is no visible ASCII and
// no space.
func visible(b []byte) int {
	const each = 0x0101010101010101
	for i := 0; ; i += 8 {
		if len(b)-i < 8 {
			for ; i < len(b) && b[i] >= ' ' && b[i] <= '~'; i++ {
			}
			return i
		}
		// The highest bit of a byte is set where it was, and by what is below a space, or
		// above ~. A borrow or a carry changes only what is behind the first of them.
		x := binary.LittleEndian.Uint64(b[i:])
		if out := ((x - ' '*each) | x | (x + each)) & (0x80 * each); out != 0 {
			return i + bits.TrailingZeros64(out)/8
		}
	}
}

// plainHost says whether a value of Host is a name or an IPv4 address, and maybe a port.
func plainHost(b []byte) bool {
	name, port, has := bytes.Cut(b, []byte{':'})
	for _, c := range name {
		if c != '-' && c != '.' && !letter(c) && !digit(c) {
			return false
		}
	}
	for _, c := range port {
		if !digit(c) {
			return false
		}
	}
	return len(name) > 0 && has == (len(port) > 0) && len(port) <= 5
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// tokenByte are the characters of a header's name (RFC 9110 §5.6.2).
var tokenByte = func() (all [256]bool) {
	for c := range all {
		all[c] = letter(byte(c)) || digit(byte(c)) || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0
	}
	return all
}()
