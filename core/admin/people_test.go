package admin_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/souk-market/souk/core/plugin"
)

// person is what the accounts plugin reads.
type person struct {
	Email, Name, Password string
	Disabled              bool
}

func (b *bench) person(email string) person {
	b.Helper()
	value, err := b.people.Get(b.Context(), []byte("person/"+email))
	b.must(err)
	var p person
	b.must(json.Unmarshal(value, &p))
	return p
}

func TestPeople(t *testing.T) {
	b := newBench(t)
	const path = "/api/people/Alice+test@Example.com"
	a := b.ask(201, "PUT", path, `{"password":"wonderland","name":"Alice"}`)
	b.same("answer", a.body, `{"email":"Alice+test@Example.com","name":"Alice","disabled":false}`)
	p := b.person("alice+test@example.com")
	if !plugin.VerifyPassword(t.Context(), "wonderland", p.Password) {
		t.Errorf("the record has the hash %q, which the password does not match", p.Password)
	}
	if p.Email != "Alice+test@Example.com" || p.Name != "Alice" || p.Disabled {
		t.Errorf("the record is %+v", p)
	}

	t.Run("what is not given stays", func(t *testing.T) {
		b.ask(200, "PUT", path, `{"disabled":true}`)
		now := b.person("alice+test@example.com")
		if now.Password != p.Password || now.Name != "Alice" || !now.Disabled {
			t.Errorf("the record is %+v, want another disabled than %+v", now, p)
		}
		b.ask(200, "PUT", path, `{"password":"through the looking-glass","disabled":false}`)
		if !plugin.VerifyPassword(t.Context(), "through the looking-glass", b.person("alice+test@example.com").Password) {
			t.Error("the new password does not match")
		}
	})
	t.Run("conditions", func(t *testing.T) {
		b.refused(412, "PUT", path, `{"password":"somebody else"}`, "already", "If-None-Match", "*")
		b.refused(412, "PUT", "/api/people/bob@example.com", `{"password":"builder-bob"}`, "no such person", "If-Match", "*")
		b.refused(400, "PUT", path, `{}`, "If-Match", "If-Match", `"1"`)
		b.ask(201, "PUT", "/api/people/bob@example.com", `{"password":"builder-bob"}`, "If-None-Match", "*")
		b.ask(200, "PUT", "/api/people/bob@example.com", `{"name":"Bob"}`, "If-Match", "*")
	})
	t.Run("the listing has no hash", func(t *testing.T) {
		a := b.ask(200, "GET", "/api/people", "")
		b.same("people", len(a.get("people").([]any)), 2)
		if strings.Contains(a.body, "argon2id") || strings.Contains(a.body, "password") {
			t.Errorf("the listing tells about passwords: %s", a.body)
		}
		a = b.ask(200, "GET", "/api/people?limit=1", "")
		b.same("next", a.get("next"), "alice+test@example.com")
		a = b.ask(200, "GET", "/api/people?limit=1&after=alice%2Btest@example.com", "")
		b.same("second page", a.text("people"), `[{"disabled":false,"email":"bob@example.com","name":"Bob"}]`)
		b.same("next", a.get("next"), nil)
	})
	t.Run("remove", func(t *testing.T) {
		b.ask(204, "DELETE", "/api/people/BOB@example.com", "")
		b.refused(404, "DELETE", "/api/people/bob@example.com", "", "no such person")
	})
	t.Run("what is not valid names its field", func(t *testing.T) {
		for _, c := range []struct{ body, words string }{
			{`{}`, "password: is missing"},
			{`{"password":"short"}`, "password: has 5 characters"},
			{`{"password":"` + strings.Repeat("a", 1025) + `"}`, "password: has 1025 bytes"},
			{`{"password":"builder-bob","territory":"AUT"}`, "territory: there is no such key"},
			{`{"password":"builder-bob","name":"a\nb"}`, "name"},
			{`{"password":"builder-bob","grants":["sub:plus"]}`, "grants: there is no such key"},
			{`{"password":"builder-bob","role":"admin"}`, "role: there is no such key"},
		} {
			b.refused(400, "PUT", "/api/people/bob@example.com", c.body, c.words)
		}
		for _, email := range []string{"bob", "@example.com", "bob@", "a@b@c", "a%20b@example.com", strings.Repeat("a", 240) + "@example.com"} {
			b.refused(400, "PUT", "/api/people/"+email, `{"password":"builder-bob"}`, "email")
		}
	})
	t.Run("a damaged record can be written again", func(t *testing.T) {
		b.must(b.people.Put(t.Context(), []byte("person/carol@example.com"), []byte("{"), 0))
		if a := b.ask(200, "GET", "/api/people?after=bob@example.com", ""); !strings.Contains(a.body, `"unreadable":true`) {
			t.Errorf("the listing is %s, want carol as unreadable", a.body)
		}
		b.ask(201, "PUT", "/api/people/carol@example.com", `{"password":"a christmas carol"}`)
		b.same("email", b.person("carol@example.com").Email, "carol@example.com")
	})
	t.Run("grants and territory of an older record are left out", func(t *testing.T) {
		b.must(b.people.Put(t.Context(), []byte("person/dave@example.com"),
			[]byte(`{"email":"Dave@example.com","name":"Dave","territory":"AUT","grants":["sub:plus"],"password":"x","disabled":true}`), 0))
		a := b.ask(200, "PUT", "/api/people/Dave@example.com", `{"name":"David"}`)
		b.same("answer", a.body, `{"email":"Dave@example.com","name":"David","disabled":true}`)
		value, err := b.people.Get(t.Context(), []byte("person/dave@example.com"))
		b.must(err)
		b.same("record", string(value), `{"email":"Dave@example.com","name":"David","password":"x","disabled":true}`)
	})
	log := b.log.String()
	for _, not := range []string{"argon2id", "wonderland", "builder-bob", "looking-glass", secret} {
		if strings.Contains(log, not) {
			t.Errorf("the log has %q in it: %s", not, log)
		}
	}
	if !strings.Contains(log, `action=person.put`) || !strings.Contains(log, `password_set=true`) || !strings.Contains(log, "action=person.remove") {
		t.Errorf("the log lacks the audit lines: %s", log)
	}
}

func TestPeopleChangedTogetherLoseNothing(t *testing.T) {
	b := newBench(t)
	b.ask(201, "PUT", "/api/people/alice@example.com", `{"password":"wonderland"}`)
	bodies := []string{`{"name":"Alice"}`, `{"password":"through the looking-glass"}`, `{"disabled":true}`}
	var wg sync.WaitGroup
	for _, body := range bodies {
		wg.Go(func() { b.ask(200, "PUT", "/api/people/alice@example.com", body) })
	}
	wg.Wait()
	p := b.person("alice@example.com")
	if p.Name != "Alice" || !p.Disabled || !plugin.VerifyPassword(t.Context(), "through the looking-glass", p.Password) {
		t.Errorf("the record is %+v, want all three changes", p)
	}
}
