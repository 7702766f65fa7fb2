package store

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A fuzzer of one kind of record: any bytes decode or are refused, never panic,
// and what decodes has one encoding.
func fuzzRecord[T any](f *testing.F, decode func([]byte) (T, error), encode func(T) []byte, seeds ...T) {
	f.Add([]byte(nil))
	f.Add([]byte{1})
	f.Add([]byte{2})
	for _, seed := range seeds {
		b := encode(seed)
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(bytes.Clone(b), 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			if !strings.Contains(err.Error(), "table ") {
				t.Errorf("decoding %x: %v does not name the table", b, err)
			}
			return
		}
		if again := encode(v); !bytes.Equal(again, b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, v, again)
		}
	})
}

var (
	someTime   = time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)
	someFamily = Family{
		State: Revoked, KID: 1, Class: 2, Audience: 3, Generation: 4, RotatedAt: someTime, Created: someTime,
		Subject: [16]byte{5}, Client: [16]byte{6}, Scope: 7, Epoch: 8, Late: [2]uint32{9, 10},
	}
	someAccount = Account{
		Account: "alice", DisplayName: "Alice", Territory: "fr", Grants: []string{"", "gold"},
		Epoch: 300, History: []uint64{0, 1000001, 1000002, 1 << 63},
		Devices: [][16]byte{{1}, {2}, {3}},
		Held:    []Held{{0, 2}, {0, 0}, {1000002, 1}, {1 << 63, 1}},
	}
	someone    = Account{Account: "bob", History: []uint64{7}}
	someClient = Client{
		ID: "app", State: ClientDisabled, Kind: ConfidentialClient, Market: true, Scope: 1, Epoch: 2, Created: someTime, Changed: someTime,
		Secret: [32]byte{3}, Name: "App", RedirectURIs: []string{"com.example.app:/back", "http://127.0.0.1/back"},
	}
	someSecond   = someTime.Truncate(time.Second)
	someLicenses = []License{
		{ID: 1, Item: 1000001, Device: [16]byte{1}, Issued: someSecond, Renewed: someSecond, Expires: someSecond},
		{ID: 2, Item: 1000001, Device: [16]byte{2}, Revoked: true, Issued: someSecond, Renewed: someSecond, Expires: someSecond},
	}
	someToken = SubjectToken{Account: "alice", Client: "client", Foreign: true}
)

func FuzzFamily(f *testing.F) { fuzzRecord(f, decodeFamily, encodeFamily, someFamily) }

func FuzzAccount(f *testing.F) {
	fuzzRecord(f, decodeAccount, encodeAccount, someAccount, someone, Account{})
}

func FuzzSubjectToken(f *testing.F) {
	fuzzRecord(f, decodeSubjectToken, encodeSubjectToken, someToken, SubjectToken{})
}

func FuzzRevocation(f *testing.F) {
	fuzzRecord(f, decodeRevocation, encodeRevocation, someTime, time.Time{})
}

func FuzzFormat(f *testing.F) { fuzzRecord(f, decodeFormat, encodeFormat, 1) }

// The records that came later, in one target: the first byte says which.
func FuzzRecord(f *testing.F) {
	kinds := []struct {
		seed  []byte
		again func(b []byte) ([]byte, error) // decodes and encodes
	}{
		{encodeClient(someClient), func(b []byte) ([]byte, error) {
			c, err := decodeClient("app", b)
			return encodeClient(c), err
		}},
		{encodeAttempts(someTime), func(b []byte) ([]byte, error) {
			until, err := decodeAttempts(b)
			return encodeAttempts(until), err
		}},
		{encodeLicenses(someLicenses), func(b []byte) ([]byte, error) {
			list, err := decodeLicenses(Item{Key: licenseKey([16]byte{}, 1000001), Value: b})
			return encodeLicenses(list), err
		}},
		{encodeNumber(licenseKey([16]byte{4}, 1000001)), func(b []byte) ([]byte, error) {
			k, err := decodeNumber(b)
			return encodeNumber(k), err
		}},
		{encodeHolder(someTime), func(b []byte) ([]byte, error) {
			listed, err := decodeHolder(b)
			return encodeHolder(listed), err
		}},
		{encodeSignOut(3), func(b []byte) ([]byte, error) {
			epoch, err := decodeSignOut(b)
			return encodeSignOut(epoch), err
		}},
	}
	for i, kind := range kinds {
		f.Add(byte(i), kind.seed)
		f.Add(byte(i), kind.seed[:len(kind.seed)-1])
		f.Add(byte(i), append(bytes.Clone(kind.seed), 0))
	}
	f.Fuzz(func(t *testing.T, i byte, b []byte) {
		again, err := kinds[int(i)%len(kinds)].again(b)
		switch {
		case err != nil && !strings.Contains(err.Error(), "table "):
			t.Errorf("decoding %x: %v does not name the table", b, err)
		case err == nil && !bytes.Equal(again, b):
			t.Errorf("%x is encoded as %x again", b, again)
		}
	})
}

func FuzzAccountName(f *testing.F) {
	fuzzRecord(f, decodeAccountName, func(s string) []byte { return appendText([]byte{1}, s) }, "alice")
}

func TestRecordsSurvive(t *testing.T) {
	if got, err := decodeFamily(encodeFamily(someFamily)); err != nil || got != someFamily {
		t.Errorf("family = %+v, %v, want %+v", got, err, someFamily)
	}
	if n := len(encodeFamily(someFamily)); n != familySize {
		t.Errorf("a family takes %d bytes, the key map says %d", n, familySize)
	}
	if got, err := decodeAccount(encodeAccount(someAccount)); err != nil || !reflect.DeepEqual(got, someAccount) {
		t.Errorf("account = %+v, %v, want %+v", got, err, someAccount)
	}
	if got, err := decodeAccount(encodeAccount(someone)); err != nil || !reflect.DeepEqual(got, someone) {
		t.Errorf("account = %+v, %v, want %+v", got, err, someone)
	}
	if got, err := decodeSubjectToken(encodeSubjectToken(someToken)); err != nil || got != someToken {
		t.Errorf("subject token = %+v, %v, want %+v", got, err, someToken)
	}
	if got, err := decodeClient("app", encodeClient(someClient)); err != nil || !reflect.DeepEqual(got, someClient) {
		t.Errorf("client = %+v, %v, want %+v", got, err, someClient)
	}
	if got, err := decodeLicenses(Item{Key: licenseKey([16]byte{}, 1000001), Value: encodeLicenses(someLicenses)}); err != nil || !reflect.DeepEqual(got, someLicenses) {
		t.Errorf("licences = %+v, %v, want %+v", got, err, someLicenses)
	}
	var zero Family
	zero.State = Active
	if got, err := decodeFamily(encodeFamily(zero)); err != nil || got != zero || !got.Created.IsZero() {
		t.Errorf("family = %+v, %v, want times that are zero", got, err)
	}
}

func TestNewerRecordsAreRefused(t *testing.T) {
	records := map[byte]struct {
		b      []byte
		decode func([]byte) error
	}{
		'F': {encodeFamily(someFamily), func(b []byte) error { _, err := decodeFamily(b); return err }},
		'U': {encodeAccount(someAccount), func(b []byte) error { _, err := decodeAccount(b); return err }},
		'T': {encodeSubjectToken(someToken), func(b []byte) error { _, err := decodeSubjectToken(b); return err }},
		'X': {encodeRevocation(someTime), func(b []byte) error { _, err := decodeRevocation(b); return err }},
		'I': {appendText([]byte{1}, "alice"), func(b []byte) error { _, err := decodeAccountName(b); return err }},
		'R': {encodeClient(someClient), func(b []byte) error { _, err := decodeClient("app", b); return err }},
		'G': {encodeAttempts(someTime), func(b []byte) error { _, err := decodeAttempts(b); return err }},
		'L': {encodeLicenses(someLicenses), func(b []byte) error {
			_, err := decodeLicenses(Item{Key: licenseKey([16]byte{}, 1000001), Value: b})
			return err
		}},
		'N': {encodeNumber(licenseKey([16]byte{4}, 1000001)), func(b []byte) error { _, err := decodeNumber(b); return err }},
		'H': {encodeHolder(someTime), func(b []byte) error { _, err := decodeHolder(b); return err }},
		'M': {encodeFormat(1), func(b []byte) error { _, err := decodeFormat(b); return err }},
	}
	for table, r := range records {
		longer := append(bytes.Clone(r.b), 7)
		if err := r.decode(longer); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("table %c: 1 bytes behind", table)) {
			t.Errorf("a byte behind a record of table %c = %v", table, err)
		}
		newer := bytes.Clone(r.b)
		newer[0]++
		if err := r.decode(newer); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("table %c: record of format %d", table, newer[0])) {
			t.Errorf("a newer record of table %c = %v", table, err)
		}
		for n := range r.b {
			if err := r.decode(r.b[:n]); !errors.Is(err, errDamaged) {
				t.Errorf("the first %d bytes of a record of table %c = %v, want errDamaged", n, table, err)
			}
		}
	}
}

// Devices that Give does not make are damage.
func TestWrongDevicesAreRefused(t *testing.T) {
	whole := encodeAccount(someone)
	whole[0] = accountDevices
	id := make([]byte, 16)
	tail := func(parts ...any) []byte {
		b := bytes.Clone(whole)
		for _, p := range parts {
			switch p := p.(type) {
			case int:
				b = append(b, byte(p))
			case []byte:
				b = append(b, p...)
			}
		}
		return b
	}
	if a, err := decodeAccount(tail(1, id, 1, 0, 1, 0)); err != nil || !a.Holds([16]byte{}, 7) {
		t.Fatalf("decodeAccount = %+v, %v, want a device that holds an item", a, err)
	}
	for name, b := range map[string][]byte{
		"none":                           tail(0, 0),
		"more than there may be":         tail(0x81, 0x02, bytes.Repeat(id, 257), 0),
		"one that holds nothing":         tail(1, id, 0),
		"two, and one holds nothing":     tail(2, id, id, 1, 0, 1, 0),
		"an item behind the history":     tail(1, id, 1, 1, 1, 0),
		"a second item":                  tail(1, id, 2, 0, 1, 0, 0, 1, 0),
		"an item that nobody holds":      tail(1, id, 1, 0, 0),
		"an item twice of a device":      tail(1, id, 1, 0, 2, 0, 0),
		"an item of a device that isn't": tail(1, id, 1, 0, 1, 1),
		"a count that is too long":       tail(1, id, 1, 0, 0xff, 0x7f, 0),
	} {
		if _, err := decodeAccount(b); !errors.Is(err, errDamaged) {
			t.Errorf("with %s: decodeAccount = %v, want errDamaged", name, err)
		}
	}
}

// Clients and licences that nobody writes are damage.
func TestWrongClientsAndLicencesAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Client){
		"a state that is none":   func(c *Client) { c.State = 4 },
		"a kind that is none":    func(c *Client) { c.Kind = 3 },
		"a secret, and native":   func(c *Client) { c.Kind = NativeClient },
		"no secret":              func(c *Client) { c.Secret = [32]byte{} },
		"too many redirect URIs": func(c *Client) { c.RedirectURIs = make([]string, MaxRedirects+1) },
		"a long name":            func(c *Client) { c.Name = strings.Repeat("x", 256) },
	} {
		c := someClient
		change(&c)
		if _, err := decodeClient("app", encodeClient(c)); !errors.Is(err, errDamaged) {
			t.Errorf("a client with %s: decodeClient = %v, want errDamaged", name, err)
		}
	}
	key := licenseKey([16]byte{}, 1000001)
	for name, list := range map[string][]License{
		"none":           nil,
		"a device twice": {{ID: 1, Device: [16]byte{1}}, {ID: 2, Device: [16]byte{1}}},
		"an id twice":    {{ID: 1, Device: [16]byte{1}}, {ID: 1, Device: [16]byte{2}}},
		"too many":       make([]License, MaxLicenses+1),
	} {
		if _, err := decodeLicenses(Item{Key: key, Value: encodeLicenses(list)}); !errors.Is(err, errDamaged) {
			t.Errorf("licences with %s: decodeLicenses = %v, want errDamaged", name, err)
		}
	}
	if _, err := decodeLicenses(Item{Key: Key{Table: tableLicense, Sub: "short"}, Value: encodeLicenses(someLicenses)}); !errors.Is(err, errDamaged) {
		t.Errorf("licences under a key without an item: decodeLicenses = %v, want errDamaged", err)
	}
}

// A count that promises more than is there must not be believed: it would be the
// size of an allocation.
func TestCountsAreNotBelieved(t *testing.T) {
	b := appendText(appendText(appendText([]byte{1}, "a"), ""), "")
	b = append(b, 0, 0, 0, 0)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
	if _, err := decodeAccount(b); !errors.Is(err, errDamaged) {
		t.Errorf("decodeAccount = %v, want errDamaged", err)
	}
}
