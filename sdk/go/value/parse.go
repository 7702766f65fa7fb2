package value

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the recursion of the parser.
const maxDepth = 64

// Parse reads one JSON value, which is all of the text (RFC 8259).
func Parse(json []byte) (Value, error) {
	if !utf8.Valid(json) {
		return Value{}, errors.New("the JSON text is not UTF-8")
	}
	p := parser{s: string(json)}
	v, err := p.value("", 0)
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.at < len(p.s) {
		return Value{}, p.wrong("something follows the value")
	}
	return v, nil
}

type parser struct {
	s  string
	at int
}

// wrong says what is wrong with the text itself, so it names a byte and no key.
func (p *parser) wrong(what string) error {
	return errors.New("byte " + strconv.Itoa(p.at) + " of the JSON text: " + what)
}

func (p *parser) space() {
	for p.at < len(p.s) {
		switch p.s[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next skips space and returns the byte that follows, 0 at the end.
func (p *parser) next() byte {
	p.space()
	return p.peek()
}

func (p *parser) peek() byte {
	if p.at == len(p.s) {
		return 0
	}
	return p.s[p.at]
}

func (p *parser) value(path string, depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, p.wrong("nested too deeply")
	}
	switch c := p.next(); {
	case c == '{':
		return p.table(path, depth)
	case c == '[':
		return p.list(path, depth)
	case c == '"':
		s, err := p.text()
		return Value{Kind: Text, Path: path, text: s}, err
	case c == '-' || isDigit(c):
		s, err := p.number()
		return Value{Kind: Number, Path: path, text: s}, err
	}
	for _, w := range [...]struct {
		word string
		kind Kind
	}{{"true", Bool}, {"false", Bool}, {"null", Null}} {
		if end := p.at + len(w.word); end <= len(p.s) && p.s[p.at:end] == w.word {
			p.at = end
			return Value{Kind: w.kind, Path: path, text: w.word}, nil
		}
	}
	return Value{}, p.wrong("want a value")
}

func (p *parser) table(path string, depth int) (Value, error) {
	v := Value{Kind: Table, Path: path}
	known := map[string]bool{}
	for sep := byte('{'); ; sep = ',' {
		p.at++ // the separator
		if sep == '{' && p.next() == '}' {
			break
		}
		if p.next() != '"' {
			return v, p.wrong("want a key in quotes")
		}
		key, err := p.text()
		if err != nil {
			return v, err
		}
		at := key
		if path != "" {
			at = path + "." + key
		}
		if known[key] {
			return v, errors.New(at + ": the key stands here twice")
		}
		known[key] = true
		if p.next() != ':' {
			return v, p.wrong("want a colon")
		}
		p.at++
		e, err := p.value(at, depth+1)
		if err != nil {
			return v, err
		}
		v.keys, v.list = append(v.keys, key), append(v.list, e)
		if c := p.next(); c == '}' {
			break
		} else if c != ',' {
			return v, p.wrong("want a comma or }")
		}
	}
	p.at++
	return v, nil
}

func (p *parser) list(path string, depth int) (Value, error) {
	v := Value{Kind: List, Path: path}
	for sep := byte('['); ; sep = ',' {
		p.at++ // the separator
		if sep == '[' && p.next() == ']' {
			break
		}
		e, err := p.value(path+"["+strconv.Itoa(len(v.list))+"]", depth+1)
		if err != nil {
			return v, err
		}
		v.list = append(v.list, e)
		if c := p.next(); c == ']' {
			break
		} else if c != ',' {
			return v, p.wrong("want a comma or ]")
		}
	}
	p.at++
	return v, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number returns the spelling of a number: RFC 8259 §6.
func (p *parser) number() (string, error) {
	from := p.at
	digits := func() bool {
		start := p.at
		for isDigit(p.peek()) {
			p.at++
		}
		return p.at > start
	}
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++ // a leading zero stands alone
	} else if !digits() {
		return "", p.wrong("want a digit")
	}
	if p.peek() == '.' {
		p.at++
		if !digits() {
			return "", p.wrong("want a digit")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if !digits() {
			return "", p.wrong("want a digit")
		}
	}
	return p.s[from:p.at], nil
}

// text returns the meaning of a string: RFC 8259 §7.
func (p *parser) text() (string, error) {
	p.at++ // the quote
	from := p.at
	for p.at < len(p.s) {
		switch c := p.s[p.at]; {
		case c == '"':
			p.at++
			return p.s[from : p.at-1], nil // nothing to unescape
		case c == '\\':
			return p.escaped([]byte(p.s[from:p.at]))
		case c < ' ':
			return "", p.wrong("a control character in a text must be escaped")
		}
		p.at++
	}
	return "", p.wrong("a text has no end")
}

// escaped goes on with a text from its first backslash.
func (p *parser) escaped(b []byte) (string, error) {
	for p.at < len(p.s) {
		c := p.s[p.at]
		p.at++
		switch {
		case c == '"':
			return string(b), nil
		case c < ' ':
			p.at--
			return "", p.wrong("a control character in a text must be escaped")
		case c != '\\':
			b = append(b, c)
			continue
		}
		c = p.peek()
		p.at = min(p.at+1, len(p.s))
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, err := p.rune()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
		default:
			return "", p.wrong("an unknown escape")
		}
	}
	return "", p.wrong("a text has no end")
}

// rune reads what follows \u: four digits, or a surrogate pair.
func (p *parser) rune() (rune, error) {
	r, err := p.hex()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if p.at+2 > len(p.s) || p.s[p.at:p.at+2] != `\u` {
		return 0, p.wrong("half of a surrogate pair")
	}
	p.at += 2
	low, err := p.hex()
	if err != nil {
		return 0, err
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, p.wrong("half of a surrogate pair")
	}
	return r, nil
}

func (p *parser) hex() (rune, error) {
	if p.at+4 > len(p.s) {
		return 0, p.wrong("want four hexadecimal digits")
	}
	n, err := strconv.ParseUint(p.s[p.at:p.at+4], 16, 16)
	if err != nil {
		return 0, p.wrong("want four hexadecimal digits")
	}
	p.at += 4
	return rune(n), nil
}
