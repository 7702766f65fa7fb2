package author_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/souk-market/souk/cmd/souk/author"
	"github.com/souk-market/souk/sdk/abi"
)

// TestCheckAsksNobody: a module from elsewhere comes with a configuration that
// names a file of ours as its secret, and its own server.
func TestCheckAsksNobody(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plugin.wasm": string(asks(server.URL)),
		"mine.txt":    "what nobody else may know",
		author.File: fmt.Sprintf("build = [\"true\"]\nname = \"theirs\"\nhooks = [\"sign_in\"]\nallow = [\"http\", \"secret\"]\nhosts = [%q]\n"+
			"[secrets]\nours = { file = \"mine.txt\" }\n", strings.TrimPrefix(server.URL, "http://")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	target, err := author.TargetOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := author.Check(t.Context(), target, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Fuel) != 1 || r.Fuel[0].Typical < 1000 || len(r.Warnings) > 0 {
		t.Errorf("the check finds %+v: the module doesn't try to ask", r)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the module has asked its server %d times", n)
	}
}

// asks is a module that sends a request to a server for each sign-in, and abstains.
func asks(url string) []byte {
	request := (&abi.FetchRequest{Method: "GET", URL: url + "/"}).Append(nil)
	number := func(n int) []byte { return append([]byte{0x41}, leb(n)...) } // i32.const, for what has its top bits clear
	vector := func(items ...[]byte) []byte { return slices.Concat(leb(len(items)), slices.Concat(items...)) }
	sized := func(parts ...[]byte) []byte { b := slices.Concat(parts...); return slices.Concat(leb(len(b)), b) }
	name := func(s string) []byte { return sized([]byte(s)) }
	code := func(parts ...[]byte) []byte { return sized([]byte{0}, slices.Concat(parts...), []byte{0x0b}) }
	section := func(id byte, content []byte) []byte { return slices.Concat([]byte{id}, sized(content)) }
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, vector([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 1, 0x7f, 1, 0x7e}, []byte{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f})),
		section(2, vector(slices.Concat(name("souk"), name("http_fetch"), []byte{0, 3}))),
		section(3, vector([]byte{0}, []byte{1}, []byte{2})),
		section(5, vector([]byte{0, 20})),
		section(7, vector(slices.Concat(name("memory"), []byte{2, 0}), slices.Concat(name("souk_abi_1"), []byte{0, 1}),
			slices.Concat(name("souk_buffer"), []byte{0, 2}), slices.Concat(name("sign_in"), []byte{0, 3}))),
		section(10, vector(code(), code(number(64<<10)),
			code(number(1024), number(len(request)), number(8<<10), number(32<<10), []byte{0x10, 0, 0x1a, 0x42, 0}))),
		section(11, vector(slices.Concat([]byte{0}, number(1024), []byte{0x0b}, sized(request)))))
}

// leb writes a number that is not negative, also for where it has a sign.
func leb(n int) []byte {
	b := binary.AppendUvarint(nil, uint64(n))
	if last := len(b) - 1; b[last]&0x40 != 0 {
		b[last] |= 0x80
		b = append(b, 0)
	}
	return b
}
