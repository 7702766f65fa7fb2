package plugin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// secretTexts are secrets as they are: one word, one that quotes change, and
// one of several lines.
var secretTexts = map[string]string{
	"word":  "wonderland-9431-looking-glass-5507",
	"quote": "back\\slash \"and\" quotes\tand a tab",
	"lines": "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\nAwEHBG0wawIBAQQgevZzL1gdAFr88hb2\nOF2NxApJCzGCEDdfSp6VQO30hw==\n-----END PRIVATE KEY-----",
}

// pieces are what of a secret no log may show: any nine bytes of it, but for
// the lines that every key has.
func pieces(secret string) []string {
	var all []string
	for line := range strings.Lines(secret) {
		if strings.HasPrefix(line, "-----") {
			continue
		}
		for at := 0; at+9 <= len(line); at++ {
			all = append(all, line[at:at+9])
		}
	}
	return all
}

// secretSpec is the full guest with a secret.
func secretSpec(t *testing.T, text string) plugin.Spec {
	s := fullSpec(t)
	t.Setenv("SOUK_TEST_SECRET", text)
	s.Secrets = plugin.Secrets{"client_secret": {Env: "SOUK_TEST_SECRET"}}
	return s
}

func TestNoSecretIsLogged(t *testing.T) {
	for name, secret := range secretTexts {
		t.Run(name, func(t *testing.T) {
			var j journal
			s := secretSpec(t, secret)
			h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open, Log: j.logger()})
			var said strings.Builder // all that leaves the package
			say := func(v any) {
				b, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&said, "%s %+v\n", b, v)
			}
			for _, c := range []struct {
				what   string
				failed bool
			}{
				{"log", false}, {"cut", false}, {"stderr", false}, {"title", false}, {"panic", true}, {"error", true}, {"kind", true},
				{"name", true}, {"redirect", true}, {"elsewhere", true}, {"account", true}, {"grant", true},
			} {
				call := h.Acquire()
				call.SignIn.LoginHint = "secret:" + c.what
				answer, _, err := call.AskSignIn(t.Context(), "")
				if (err != nil) != c.failed {
					t.Errorf("%s: %v", c.what, err)
				}
				if err != nil && !errors.Is(err, plugin.ErrFailed) {
					t.Errorf("%s: %v", c.what, err)
				}
				say(answer)
				fmt.Fprintln(&said, err)
				call.Release()
				say(h.Plugins())
			}
			call := h.Acquire()
			call.SignIn.LoginHint = "secret:length"
			if answer, _, err := call.AskSignIn(t.Context(), ""); err != nil || answer.Title != fmt.Sprint(len(secret)) {
				t.Errorf("the guest has got another secret: %v, %v", answer, err)
			}
			call.Release()
			// One question may tell another.
			got := entitle(t, h, 1, abi.Head{Account: "secret"})[0]
			if !strings.HasPrefix(got.Reason, "souk: refused by the host") {
				t.Errorf("secret_get in entitle: %q, want a refusal", got.Reason)
			}
			say(got)
			for _, token := range []string{"secret", "secret account"} {
				call := h.Acquire()
				call.Exchange.SubjectToken = token
				answer, _, err := call.AskExchange(t.Context())
				say(answer)
				fmt.Fprintln(&said, err)
				call.Release()
			}
			fmt.Fprintf(&said, "%+v", s)
			for _, p := range pieces(secret) {
				if strings.Contains(j.String(), p) {
					t.Fatalf("%q of the secret is in the log:\n%s", p, j.String())
				}
				if strings.Contains(said.String(), p) {
					t.Fatalf("%q of the secret is in an answer, an error or what the operator sees:\n%s", p, said.String())
				}
			}
			if !strings.Contains(j.String(), "the key is […]!") {
				t.Errorf("log:\n%swant the rest of the lines", j.String())
			}
		})
	}
}

// What a plugin keeps in its state is sealed by the core and comes back whole.
func TestSecretInTheStateStays(t *testing.T) {
	h := open(t, plugin.Options{Specs: []plugin.Spec{secretSpec(t, "for the state only")}, KV: (&store{}).open})
	call := h.Acquire()
	defer call.Release()
	call.SignIn.LoginHint = "secret:state"
	if answer, _, err := call.AskSignIn(t.Context(), ""); err != nil || answer.State != "for the state only" {
		t.Errorf("the state is %v, %v", answer, err)
	}
}

func TestSecretsOfFiles(t *testing.T) {
	dir := t.TempDir()
	length := func(content string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "idp.secret"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s := fullSpec(t)
		s.Secrets = plugin.Secrets{"client_secret": {File: "idp.secret"}}
		h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: (&store{}).open, Dir: dir})
		call := h.Acquire()
		defer call.Release()
		call.SignIn.LoginHint = "secret:length"
		answer, _, err := call.AskSignIn(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Clone(answer.Title)
	}
	for _, c := range []struct{ content, want string }{
		{"eight by", "8"}, {"eight by\n", "8"}, {"eight by\r\n", "8"}, {"eight by\n\n", "9"}, {strings.Repeat("x", abi.MaxSecret) + "\n", "4096"},
	} {
		if got := length(c.content); got != c.want {
			t.Errorf("a file of %d bytes is a secret of %s, want %s", len(c.content), got, c.want)
		}
	}
}

func TestSecretsThatStopTheStart(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "\n", "short": "seven b\n", "long": strings.Repeat("x", abi.MaxSecret+1), "binary": "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SOUK_TEST_SECRET", "short")
	for _, c := range []struct {
		secret plugin.Secret
		want   string
	}{
		{plugin.Secret{File: "none"}, "file " + filepath.Join(dir, "none") + " doesn't exist: make it, or name another"},
		{plugin.Secret{File: "empty"}, "is empty"},
		{plugin.Secret{File: "short"}, "is too short: a secret has at least 8 bytes"},
		{plugin.Secret{File: "long"}, "is longer than 4KiB"},
		{plugin.Secret{File: "binary"}, "is no text: write it in base64 or hexadecimal digits"},
		{plugin.Secret{Env: "SOUK_TEST_NO_SUCH"}, "the environment has no SOUK_TEST_NO_SUCH: set it, or name another variable"},
		{plugin.Secret{Env: "SOUK_TEST_SECRET"}, "is too short: a secret has at least 8 bytes"},
	} {
		s := spec("idp", allowing().wasm())
		s.Allow, s.Secrets = []string{"secret"}, plugin.Secrets{"client_secret": c.secret}
		_, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{s}, Cache: scratch + "/cache", Dir: dir})
		if want := "plugin[0] idp: secrets.client_secret: " + c.want; err == nil || err.Error() != want {
			t.Errorf("Open: %v, want %s", err, want)
		}
	}
}

// FuzzRedact looks for nine bytes of a secret in what is left of a line.
func FuzzRedact(f *testing.F) {
	f.Add("the key is wonderland!", "wonderland", uint16(0), uint16(30))
	f.Add("wonderlandwonderland", "wonderland", uint16(3), uint16(15))
	f.Add("wonderwonderland", "wonderland", uint16(0), uint16(16))
	f.Add("xlandwonderlandwonder", "landwonderland", uint16(0), uint16(100))
	f.Add("aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaa", uint16(1), uint16(15))
	f.Fuzz(func(t *testing.T, text, secret string, from, to uint16) {
		if len(secret) < 8 || len(secret) > 64 || strings.ContainsAny(secret, "\n") {
			return
		}
		if strings.ContainsAny(secret, "[…]") || !utf8.ValidString(secret) {
			return // what stands in its place could complete it, and gives nothing away; a secret is UTF-8
		}
		whole := text + secret + text
		piece := whole[min(int(from), len(whole)):]
		piece = piece[:min(int(to), len(piece))]
		for _, line := range []string{whole, piece, secret + secret} {
			got := plugin.Redact(secret, line)
			if strings.Contains(got, secret) {
				t.Errorf("%q holds the secret %q: it was %q", got, secret, line)
			}
			if again := plugin.Redact(secret, got); strings.Contains(again, secret) {
				t.Errorf("%q holds the secret %q", again, secret)
			}
		}
	})
}
