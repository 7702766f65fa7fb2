package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

// Secret says where one secret of a plugin is kept: in a file or in a variable
// of the environment. A configuration is copied, shown and checked in; so the
// text of a secret has no place in it.
type Secret struct {
	File string // its path; one end of line at the end is not part of the secret
	Env  string // the variable's name
}

// Secrets are those of one plugin, by the names that it asks for.
type Secrets map[string]Secret

// UnmarshalTOML reads a table of { file = "…" } and { env = "…" }. Its errors
// repeat nothing of what they refuse.
func (s *Secrets) UnmarshalTOML(v any) error {
	table, ok := v.(map[string]any)
	if !ok {
		return errSecretText
	}
	*s = Secrets{}
	for name, v := range table {
		var secret Secret
		if err := secret.read(v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		(*s)[name] = secret
	}
	return nil
}

var errSecretText = errors.New(`a secret is written { file = "path" } or { env = "NAME" }: its text has no place in the configuration`)

func (s *Secret) read(v any) error {
	table, ok := v.(map[string]any)
	if !ok {
		return errSecretText
	}
	for key, value := range table {
		text, ok := value.(string)
		switch {
		case key != "file" && key != "env":
			return errors.New(`a secret has no such key: write { file = "path" } or { env = "NAME" }`)
		case !ok:
			return errors.New(key + " of a secret is a text")
		case key == "file":
			s.File = text
		default:
			s.Env = text
		}
	}
	return nil
}

func (s Secret) check() error {
	switch {
	case (s.File == "") == (s.Env == ""):
		return errors.New(`write { file = "path" } or { env = "NAME" }, one of the two`)
	case strings.ContainsAny(s.Env, "=\x00"):
		return errors.New("env is no name of a variable")
	}
	return nil
}

// A secret is at most as long as a line of the log, so that no piece of a line
// that was cut lies within it: it holds the secret's begin or its end.
const _ = uint(logLine - abi.MaxSecret)

// minSecret is what a secret has at least: a shorter one is guessed, and taking
// it out of the log would take out half the words.
const minSecret = 8

// secrets are those of one generation. Nil has none.
type secrets struct {
	values map[string][]byte
	hidden []string // what the log must not show
}

// secrets reads those of a plugin from where the operator keeps them.
func (l *loader) secrets(s *Spec) (*secrets, error) {
	if len(s.Secrets) == 0 {
		return nil, nil
	}
	all := &secrets{values: map[string][]byte{}}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		text, err := l.secret(s.Secrets[name])
		if err == nil {
			err = checkSecret(text)
		}
		if err != nil {
			return nil, fmt.Errorf("secrets.%s: %w", name, err)
		}
		all.values[name] = []byte(text)
		all.hide(text)
	}
	return all, nil
}

// equal says whether both hold the same: a file may have got another secret.
func (s *secrets) equal(other *secrets) bool {
	if s == nil || other == nil {
		return s == other
	}
	return maps.EqualFunc(s.values, other.values, bytes.Equal)
}

func (l *loader) secret(s Secret) (string, error) {
	if s.Env != "" {
		text, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("the environment has no %s: set it, or name another variable", s.Env)
		}
		return text, nil
	}
	path := s.File
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.dir, path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("file %s doesn't exist: make it, or name another", path)
	} else if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, abi.MaxSecret+3))
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), err
}

func checkSecret(text string) error {
	switch {
	case text == "":
		return errors.New("is empty")
	case len(text) < minSecret:
		return fmt.Errorf("is too short: a secret has at least %d bytes", minSecret)
	case len(text) > abi.MaxSecret:
		return fmt.Errorf("is longer than %v", unit.Size(abi.MaxSecret))
	case !utf8.ValidString(text) || strings.Contains(text, "\x00"):
		return errors.New("is no text: write it in base64 or hexadecimal digits")
	}
	return nil
}

// hide keeps a text out of the log, also where a line of it stands alone or
// between the quotes of an error.
func (s *secrets) hide(text string) {
	s.hidden = append(s.hidden, text)
	if strings.Contains(text, "\n") {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if len(line) >= minSecret && !strings.HasPrefix(line, "-----") {
				s.hidden = append(s.hidden, line)
			}
		}
	}
	quoted := strconv.Quote(text)
	if quoted = quoted[1 : len(quoted)-1]; quoted != text {
		s.hidden = append(s.hidden, quoted)
	}
}

// redacted stands where something was taken out.
const redacted = "[…]"

// redact takes the secrets out of a text, also one that begins or ends within
// one: lines are cut where they are too long.
func (s *secrets) redact(text string) string {
	if s == nil {
		return text
	}
	for _, h := range s.hidden {
		text = redactHead(text, h)
		text = redactTail(text, h)
	}
	return text
}

// redactHead takes out each part that begins as the secret does.
func redactHead(text, secret string) string {
	var b strings.Builder
	for {
		at := strings.Index(text, secret[:minSecret])
		if at < 0 {
			break
		}
		end := at + minSecret
		for end < len(text) && end-at < len(secret) && text[end] == secret[end-at] {
			end++
		}
		b.WriteString(text[:at])
		b.WriteString(redacted)
		text = text[end:]
	}
	if b.Len() == 0 {
		return text
	}
	b.WriteString(text)
	return b.String()
}

// redactTail takes out each part that ends as the secret does.
func redactTail(text, secret string) string {
	tail := secret[len(secret)-minSecret:]
	var b strings.Builder
	for {
		at := strings.Index(text, tail)
		if at < 0 {
			break
		}
		from, left := at, len(secret)-minSecret
		for from > 0 && left > 0 && text[from-1] == secret[left-1] {
			from, left = from-1, left-1
		}
		b.WriteString(text[:from])
		b.WriteString(redacted)
		text = text[at+minSecret:]
	}
	if b.Len() == 0 {
		return text
	}
	b.WriteString(text)
	return b.String()
}

// holds says whether a secret, or an end of one, is in a text.
func (s *secrets) holds(text string) bool { return s.redact(text) != text }

// secret_get(name, nlen, out, cap) -> length
func hostSecretGet(in *instance, stack []uint64) {
	in.charge(priceCall)
	name, ok := in.text(stack[0], stack[1])
	if !ok || len(name) > maxName || !in.space(stack[2], stack[3]) || !in.asked.personal() {
		stack[0] = code(abi.CodeRefused)
		return
	}
	if in.secrets == nil {
		stack[0] = code(abi.CodeNotFound)
		return
	}
	value, ok := in.secrets.values[name]
	if !ok {
		stack[0] = code(abi.CodeNotFound)
		return
	}
	in.charge(uint64(len(value)) / priceByte)
	stack[0] = in.fill(stack[2], stack[3], value)
}
