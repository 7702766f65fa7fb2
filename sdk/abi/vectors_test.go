package abi_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/souk-market/souk/sdk/abi"
)

var update = flag.Bool("update", false, "write testdata anew: a promise to every guest changes with it")

// vectorFile is testdata/vectors.json.
type vectorFile struct {
	About   []string `json:"about"`
	Vectors []vector `json:"vectors"`
}

// vector is one message as a value and as bytes.
type vector struct {
	Name   string          `json:"name"`
	Record string          `json:"record"`
	Read   bool            `json:"read_only,omitempty"` // the bytes of another minor version
	Value  json.RawMessage `json:"value,omitempty"`
	Wrong  string          `json:"wrong,omitempty"`
	Hex    string          `json:"hex"`
}

var aboutVectors = []string{
	"Golden vectors of the plugin contract, version 1. Each has a record, its value and its bytes.",
	"Without read_only and wrong: encoding the value gives these bytes, and reading the bytes gives this value.",
	"With read_only: the bytes are of a partner that knows more fields (filled with ee), or fewer; reading them gives this value.",
	"With wrong: the bytes are no such record and must be refused; the sentence says why and is not part of the contract.",
	"Fields have their names of the contract. Absent ones are zero or empty. Numbers of 64 bits are decimal texts.",
	"size, minor, hook and fixed are in a value what stands in the bytes; an encoder computes them.",
	"go test ./sdk/abi -update writes this file; after the first release vectors are only added.",
}

func TestVectors(t *testing.T) {
	made := madeVectors(t)
	if *update {
		write(t, "vectors.json", made)
	}
	var file vectorFile
	read(t, "vectors.json", &file)
	if len(file.Vectors) < len(made.Vectors) {
		t.Errorf("the file has %d vectors, this test makes %d: add them with -update", len(file.Vectors), len(made.Vectors))
	}
	seen := map[string]bool{}
	for _, v := range file.Vectors {
		if seen[v.Name] {
			t.Errorf("two vectors are named %q", v.Name)
		}
		seen[v.Name] = true
		t.Run(v.Name, func(t *testing.T) { check(t, v) })
	}
	for _, v := range made.Vectors {
		if !seen[v.Name] {
			t.Errorf("the file has no vector %q: add it with -update", v.Name)
		}
	}
}

func check(t *testing.T, v vector) {
	b, err := hex.DecodeString(v.Hex)
	if err != nil {
		t.Fatal(err)
	}
	got := messages[v.Record]()
	err = got.Read(b)
	if v.Wrong != "" {
		if !errors.Is(err, abi.ErrRecord) || !strings.HasSuffix(err.Error(), v.Wrong) {
			t.Errorf("Read says %v, want %s", err, v.Wrong)
		}
		return
	}
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if got, want := valueOf(t, got), compact(t, v.Value); got != want {
		t.Errorf("Read gives\n%s, want\n%s", got, want)
	}
	if v.Read {
		return
	}
	want := messages[v.Record]()
	if err := fromJSON(decoded(t, v.Value), reflect.ValueOf(want).Elem()); err != nil {
		t.Fatal(err)
	}
	if got := want.Append(nil); !bytes.Equal(got, b) {
		t.Errorf("Append gives\n%x, want\n%x", got, b)
	}
	if got := encode(want, partner{}); !bytes.Equal(got, b) {
		t.Errorf("encoded by reflection\n%x, want\n%x", got, b)
	}
	// A message that begins in the middle of a buffer has its offsets from its own start.
	if got := want.Append([]byte("abc"))[3:]; !bytes.Equal(got, b) {
		t.Errorf("Append behind three bytes gives\n%x, want\n%x", got, b)
	}
}

// madeVectors are the vectors as this version of the code makes them.
func madeVectors(t *testing.T) vectorFile {
	t.Helper()
	f := vectorFile{About: aboutVectors}
	add := func(name string, m message, p partner) {
		v := vector{Name: name, Record: recordOf(m), Read: p != partner{}}
		b := encode(m, p)
		if !v.Read {
			b = m.Append(nil)
		}
		back := messages[v.Record]()
		if err := back.Read(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v.Value, v.Hex = json.RawMessage(valueOf(t, back)), hex.EncodeToString(b)
		f.Vectors = append(f.Vectors, v)
	}
	for _, s := range samples() {
		add(s.name, s.message, partner{})
	}
	for _, s := range samples() {
		if s.full {
			add(s.name+", from a partner that knows more", s.message, partner{fixed: 8, stride: 16})
		}
	}
	for _, s := range shortSamples() {
		add(s.name, s.message, s.partner)
	}
	for _, m := range malformed() {
		v := vector{Name: m.name, Record: recordOf(m.message), Hex: hex.EncodeToString(m.bytes)}
		err := messages[v.Record]().Read(m.bytes)
		if !errors.Is(err, abi.ErrRecord) {
			t.Fatalf("%s is read: %v", m.name, err)
		}
		v.Wrong = strings.TrimPrefix(err.Error(), abi.ErrRecord.Error()+": ")
		f.Vectors = append(f.Vectors, v)
	}
	return f
}

type sample struct {
	name    string
	message message
	full    bool // every field has a value
	partner partner
}

// head is a head with a value in every field.
func head(purpose abi.Purpose) abi.Head {
	return abi.Head{
		NowMS: 1_790_000_000_123, Purpose: purpose, Flags: 0x8001, Seed: 0xFEDC_BA98_7654_3210,
		Account: "alice@example.com", Client: "D4C1C937-D9B4-4BB6-BCD3-5E0850143EF5",
		Platform: abi.PlatformIPadOS, OS: abi.OS(26, 1, 2), Territory: "AUT", BucketKey: "alice@example.com",
		Organization: "Bücher & Söhne", Grants: []string{"sub:plus", "role:tester", "Käufe/本"},
	}
}

func samples() []sample {
	return []sample{
		{name: "an empty request of entitle", message: &abi.EntitleRequest{}},
		{name: "entitle for three apps", full: true, message: &abi.EntitleRequest{Head: head(abi.PurposeLicense), Apps: []abi.EntitleApp{
			{Item: 1_000_001, Version: 5, Devices: 3, DevicesItem: 2, BundleID: "com.example.notes"},
			{Item: 18_446_744_073_709_551_615, Version: 9_007_199_254_740_993, BundleID: "com.example.größe"},
			{Item: 1_000_003},
		}}},
		{name: "an empty verdict of entitle", message: &abi.EntitleVerdict{}},
		{name: "each decision of entitle", full: true, message: &abi.EntitleVerdict{VerdictHead: abi.VerdictHead{Flags: 0x8001, Zero: 1}, Items: []abi.EntitleDecision{
			{Decision: abi.Allow, Code: 3, Reason: "holds sub:plus"},
			{Decision: abi.Deny, Code: 4_294_967_295, Reason: "außer Landes 🚫"},
			{Decision: abi.DecisionPass},
		}}},
		{name: "an empty request of select_version", message: &abi.SelectVersionRequest{}},
		{name: "an app without candidates", message: &abi.SelectVersionRequest{Head: abi.Head{Purpose: abi.PurposeUpdate}, Apps: []abi.SelectVersionApp{{Item: 1}}}},
		{name: "select_version for two apps with two and three candidates", full: true, message: &abi.SelectVersionRequest{Head: head(abi.PurposeUpdate), Apps: []abi.SelectVersionApp{
			{Item: 1_000_001, Installed: 100, BundleID: "com.example.notes", Channel: "beta", Candidates: []abi.Candidate{
				{Version: 103, ReleasedMS: 1_789_999_000_000, MinOS: abi.OS(26, 0, 0), Flags: abi.FlagNewest | abi.FlagDelta, Rollout: 1000, Zero: 7, Salt: "1000001/103", Short: "2.1", Build: "210", Channel: "beta"},
				{Version: 102, ReleasedMS: 1_780_000_000_000, MinOS: abi.OS(18, 4, 1), Flags: abi.FlagCritical, Rollout: 10_000, Short: "2.0", Build: "200"},
			}},
			{Item: 1_000_002, Installed: 0, BundleID: "com.example.地図", Candidates: []abi.Candidate{
				{Version: 9, Rollout: 0, Salt: "σ", Flags: abi.FlagHalted | abi.FlagNewest}, {Version: 8, Rollout: 9_999, Salt: "8"}, {Version: 7, Rollout: 10_000},
			}},
		}}},
		{name: "a restore that asks for a version", message: &abi.SelectVersionRequest{Head: head(abi.PurposeRestore), Apps: []abi.SelectVersionApp{
			{Item: 1, Installed: 3, Candidates: []abi.Candidate{{Version: 4, Flags: abi.FlagNewest, Rollout: 10_000}, {Version: 3, Flags: abi.FlagRequested, Rollout: 10_000}}},
		}}},
		{name: "an empty verdict of select_version", message: &abi.SelectVersionVerdict{}},
		{name: "each choice of select_version", full: true, message: &abi.SelectVersionVerdict{Items: []abi.VersionChoice{
			{Choice: 1, Code: 2, Reason: "bucket 312 is below 1000"}, {Choice: 0, Code: 1, Reason: "óffen"},
			{Choice: abi.Hold, Code: 26, Reason: "bucket 6312 is not below 1000"}, {Choice: abi.ChoicePass}, {Choice: abi.Unavailable, Reason: "gone"},
		}}},
		{name: "an empty request of sign_in", message: &abi.SignInRequest{}},
		{name: "sign_in with a submitted form", full: true, message: &abi.SignInRequest{Head: head(abi.PurposeSignIn), Method: abi.SignInSubmit, Attempts: 2,
			LoginHint: "alice tag@example.com", ClientName: "Käseladen", Locale: "de-AT", Address: "2001:db8::1", State: "step\x002",
			Fields: []abi.SubmittedField{{Name: "email", Value: "alice+tag@example.com"}, {Name: "password", Value: "pässwörd 🔑"}, {Name: "empty"}}}},
		{name: "an empty verdict of sign_in", message: &abi.SignInVerdict{}},
		{name: "sign_in shows a page", message: &abi.SignInVerdict{Items: []abi.SignInAnswer{{Outcome: abi.SignInPage, Title: "Sign in", Message: "Sign in as alice@example.com.",
			Fields: []abi.FormField{{Name: "email", Label: "Email address", Kind: "email", Value: "alice@example.com"}, {Name: "password", Label: "Password", Kind: "password"}}}}}},
		{name: "sign_in with every field", full: true, message: &abi.SignInVerdict{Items: []abi.SignInAnswer{{Outcome: abi.SignInDone, Zero: 1, Account: "alice@example.com",
			DisplayName: "Alice Ångström", Territory: "SWE", Title: "Überschrift", Message: "message", HTML: "<p>hi</p><souk-form></souk-form>",
			Location: "https://id.example.com/authorize?a=b&c=d", State: "s", Fields: []abi.FormField{{Name: "n", Label: "l", Kind: "note", Value: "v"}}, Grants: []string{"sub:plus", "", "b"}}}}},
		{name: "an empty request of exchange", message: &abi.ExchangeRequest{}},
		{name: "exchange of a subject token", full: true, message: &abi.ExchangeRequest{Head: head(abi.PurposeExchange),
			SubjectToken: "eyJhbGciOiJub25lIn0.e30.", SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt"}},
		{name: "an empty verdict of exchange", message: &abi.ExchangeVerdict{}},
		{name: "exchange accepts", full: true, message: &abi.ExchangeVerdict{Items: []abi.ExchangeAnswer{{Outcome: abi.ExchangeAccepted, Zero: 1, Account: "bob@example.com", Reason: "signature ✓"}}}},
		{name: "an empty request of http_fetch", message: &abi.FetchRequest{}},
		{name: "http_fetch of a token", full: true, message: &abi.FetchRequest{VerdictHead: abi.VerdictHead{Flags: 0x8001, Zero: 1}, Method: "POST",
			URL: "https://id.example.com/token", Headers: []abi.FetchHeader{{Name: "Accept", Value: "application/json"}, {Name: "X-Größe", Value: ""}}, Body: "grant_type=password&name=Käthe"}},
		{name: "an empty response of http_fetch", message: &abi.FetchResponse{}},
		{name: "http_fetch has got a token", full: true, message: &abi.FetchResponse{VerdictHead: abi.VerdictHead{Flags: 0x8001, Zero: 1}, Status: 200, Reserved: 7,
			Headers: []abi.FetchHeader{{Name: "content-type", Value: "application/json"}, {Name: "x-a", Value: "1"}, {Name: "x-a", Value: "2"}}, Body: `{"name":"Käthe"}`}},
	}
}

// shortSamples are messages of partners that know fewer fields than version
// 1.0 has; none exists, but that is how a 1.0 guest will look to a later host.
func shortSamples() []sample {
	return []sample{
		{name: "decisions without reasons, from a partner that knows less", partner: partner{stride: -8},
			message: &abi.EntitleVerdict{Items: []abi.EntitleDecision{{Decision: abi.Deny, Code: 5}, {Decision: abi.DecisionPass}}}},
		{name: "choices without reasons, from a partner that knows less", partner: partner{stride: -8},
			message: &abi.SelectVersionVerdict{Items: []abi.VersionChoice{{Choice: 2, Code: 5}, {Choice: abi.Hold}}}},
		{name: "a page without form and grants, from a partner that knows less", partner: partner{stride: -32},
			message: &abi.SignInVerdict{Items: []abi.SignInAnswer{{Outcome: abi.SignInRefused, Message: "not today"}}}},
		{name: "an answer without a reason, from a partner that knows less", partner: partner{stride: -8},
			message: &abi.ExchangeVerdict{Items: []abi.ExchangeAnswer{{Outcome: abi.ExchangeAccepted, Account: "bob@example.com"}}}},
		{name: "a verdict of nothing but a head", partner: partner{fixed: -16}, message: &abi.EntitleVerdict{}},
		{name: "apps without bundle ids, from a partner that knows less", partner: partner{stride: -8},
			message: &abi.EntitleRequest{Head: head(abi.PurposeUpdate), Apps: []abi.EntitleApp{{Item: 1, DevicesItem: 4}, {Item: 2}}}},
		{name: "a request of nothing but a head", partner: partner{fixed: -16}, message: &abi.SelectVersionRequest{Head: head(abi.PurposeUpdate)}},
	}
}

type broken struct {
	name    string
	message message
	bytes   []byte
}

// malformed are messages that the readers must refuse.
func malformed() []broken {
	verdict := func() *abi.EntitleVerdict {
		return &abi.EntitleVerdict{Items: []abi.EntitleDecision{{Reason: "one"}, {Decision: abi.Deny, Reason: "two"}}}
	}
	// The list of a verdict's items is described at 16, its elements begin at 32,
	// the first one's reason is described at 40.
	change := func(name string, f func(b []byte) []byte) broken {
		return broken{name, new(abi.EntitleVerdict), f(verdict().Append(nil))}
	}
	put := func(name string, at int, v uint32) broken {
		return change(name, func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[at:], v)
			return b
		})
	}
	list := []broken{
		change("no bytes", func([]byte) []byte { return nil }),
		change("fewer bytes than a size and a minor", func(b []byte) []byte { return b[:7] }),
		change("a message that was cut off", func(b []byte) []byte { return b[:len(b)-1] }),
		change("a message with a byte too many", func(b []byte) []byte { return append(b, 0) }),
		put("a size of 0", 0, 0),
		put("a list that begins outside", 16, 1<<31),
		put("a list that ends outside", 20, 3),
		put("a list whose end overflows 32 bits", 20, 1<<28),
		put("more elements than there are numbers for", 20, 1<<32-1),
		put("a stride of 0", 24, 0),
		put("a stride that is too small for any element", 24, 4),
		put("a stride that is too large", 24, 64),
		put("a string that begins outside", 40, 1<<31),
		put("a string that ends outside", 44, 1<<16),
		put("a string whose end overflows 32 bits", 44, 1<<32-1),
		change("a string that is not UTF-8", func(b []byte) []byte {
			b[len(b)-1] = 0xFF
			return b
		}),
		change("a string that is cut within a character", func([]byte) []byte {
			b := (&abi.EntitleVerdict{Items: []abi.EntitleDecision{{Reason: "größe"}}}).Append(nil)
			binary.LittleEndian.PutUint32(b[44:], 3) // "gr" and half of "ö"
			return b
		}),
		change("a string with an encoded surrogate", func([]byte) []byte {
			b := (&abi.EntitleVerdict{Items: []abi.EntitleDecision{{Reason: "abc"}}}).Append(nil)
			copy(b[len(b)-3:], "\xED\xA0\x80")
			return b
		}),
	}
	list = append(list, broken{"lists that overlap", new(abi.SignInVerdict), overlapping()})

	shared := &abi.EntitleVerdict{Items: make([]abi.EntitleDecision, 40)}
	b := shared.Append(nil)
	at := uint32(len(b))
	b = sized(append(b, bytes.Repeat([]byte("x"), 30_000)...))
	for i := range shared.Items {
		binary.LittleEndian.PutUint32(b[32+16*i+8:], at)
		binary.LittleEndian.PutUint32(b[32+16*i+12:], 30_000)
	}
	list = append(list, broken{"one long string many times", new(abi.EntitleVerdict), b})

	request := func(name string, f func(b []byte) []byte) broken {
		return broken{name, new(abi.ExchangeRequest), f((&abi.ExchangeRequest{SubjectToken: "t"}).Append(nil))}
	}
	fixed := func(name string, v uint32) broken {
		return request(name, func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[16:], v)
			return b
		})
	}
	return append(list,
		request("a request without a fixed size", func(b []byte) []byte { return sized(b[:16]) }),
		fixed("a fixed part that does not hold its own size", 16),
		fixed("a fixed part that is longer than the message", 200),
	)
}

// overlapping is a page whose lists of fields and grants share their bytes
// often enough to be larger than the message.
func overlapping() []byte {
	const n = 8
	b := (&abi.SignInVerdict{Items: make([]abi.SignInAnswer, n)}).Append(nil)
	for i := range n {
		fields := b[32+i*abi.SizeSignInAnswer+72:]
		binary.LittleEndian.PutUint32(fields, 32)
		binary.LittleEndian.PutUint32(fields[4:], n*abi.SizeSignInAnswer/abi.SizeFormField)
		binary.LittleEndian.PutUint32(fields[8:], abi.SizeFormField)
	}
	return b
}

// sized writes the size of a message whose length was changed.
func sized(b []byte) []byte {
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

// TestByHand holds one message against bytes that no code has written.
func TestByHand(t *testing.T) {
	want := []byte{
		0x45, 0, 0, 0, 0, 0, 0, 0, // size 69, minor 0, flags 0
		0, 0, 0, 0, 0, 0, 0, 0, // zero
		32, 0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, // 2 items at 32, 16 bytes apart
		1, 0, 0, 0, 7, 0, 0, 0, 64, 0, 0, 0, 3, 0, 0, 0, // deny, code 7, reason: 3 bytes at 64
		0, 0, 0, 0, 8, 0, 0, 0, 67, 0, 0, 0, 2, 0, 0, 0, // allow, code 8, reason: 2 bytes at 67
		'f', 'e', 'w', 0xC3, 0xB6, // "few", "ö"
	}
	v := abi.EntitleVerdict{Items: []abi.EntitleDecision{{Decision: abi.Deny, Code: 7, Reason: "few"}, {Code: 8, Reason: "ö"}}}
	if got := v.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("Append gives\n%x, want\n%x", got, want)
	}
	var back abi.EntitleVerdict
	if err := back.Read(want); err != nil || !reflect.DeepEqual(back.Items, v.Items) {
		t.Errorf("Read gives %+v, %v, want %+v", back.Items, err, v.Items)
	}
}

// TestReusedStructForgets reads a small message into a struct that has held a
// large one.
func TestReusedStructForgets(t *testing.T) {
	for _, large := range samples() {
		if !large.full {
			continue
		}
		name := recordOf(large.message)
		empty := messages[name]().Append(nil)
		reused := messages[name]()
		for _, b := range [][]byte{large.message.Append(nil), empty, large.message.Append(nil)} {
			fresh := messages[name]()
			if err := errors.Join(reused.Read(b), fresh.Read(b)); err != nil {
				t.Fatal(err)
			}
			if got, want := valueOf(t, reused), valueOf(t, fresh); got != want {
				t.Errorf("%s read into a used struct is\n%s, want\n%s", name, got, want)
			}
		}
	}
}

func valueOf(t testing.TB, m message) string {
	t.Helper()
	b, err := json.Marshal(toJSON(reflect.ValueOf(m).Elem()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// decoded keeps numbers as they are written.
func decoded(t testing.TB, b []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func compact(t testing.TB, b []byte) string {
	t.Helper()
	out, err := json.Marshal(decoded(t, b))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func read(t testing.TB, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name string, v any) {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	if err == nil {
		err = os.WriteFile(filepath.Join("testdata", name), b.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
