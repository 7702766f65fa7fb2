package coretest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

type ringKey struct {
	ID      int
	Retired string
	Current bool
}

func keysOf(t *testing.T, s *coretest.Server) []ringKey {
	t.Helper()
	var ring struct{ Keys []ringKey }
	if err := json.Unmarshal(s.Must(t, http.MethodGet, "/api/keys", nil), &ring); err != nil {
		t.Fatal(err)
	}
	return ring.Keys
}

// Everything that was made under a key is good until the key is retired: tokens,
// codes and sign-in pages.
func TestKeysAreRotatedAndRetired(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	old, quiet := deviceOf(t, s, coretest.Alice), deviceOf(t, s, coretest.Bob)
	sign := deviceSignIn(coretest.Alice)
	code, subject := sign.aliceCode(t, s), s.SubjectToken(t, coretest.Bob)
	pageBefore := open(t, s, deviceSignIn(coretest.Alice).query())

	s.Must(t, http.MethodPost, "/api/keys", nil)
	if keys := keysOf(t, s); len(keys) != 2 || keys[0].Current || !keys[1].Current {
		t.Fatalf("after a rotation the ring is %v, want two keys with the second as the current one", keys)
	}
	fresh := goesOn(t, s, "a token of the old key", old)
	byCode := token(t, s, sign.redemption(code)).granted(t, "a code of the old key")
	token(t, s, exchangeForm(subject, newClientID())).granted(t, "a subject token from before")
	pageBefore.submit(t, coretest.Alice, coretest.AlicePassword).led(t, deviceRedirect[:len(deviceRedirect)-2])

	for _, refused := range []struct {
		name, key string
		status    int
	}{
		{"the current key", "2", 409}, {"a key whose tokens are in use", "1", 409}, {"no key of the ring", "7", 409}, {"no number", "x", 404},
	} {
		if status, reply := s.Operate(t, http.MethodPost, "/api/keys/"+refused.key+"/retire", map[string]bool{}); status != refused.status || !strings.Contains(string(reply), "key") {
			t.Errorf("retiring %s answered %d %s, want %d with a sentence", refused.name, status, reply, refused.status)
		}
	}
	s.Restart(t)
	goesOn(t, s, "the new key's after a restart", byCode)

	s.Must(t, http.MethodPost, "/api/keys/1/retire", map[string]bool{"force": true})
	if status := opens(t, s, quiet.access); status != 403 {
		t.Errorf("an access token of the retired key answered %d, want 403", status)
	}
	refresh(t, s, quiet.refresh).refused(t, "a refresh token of the retired key", 400, "invalid_grant")
	fresh = goesOn(t, s, "a device that was refreshed in between", fresh)
	s.Restart(t)
	goesOn(t, s, "the same after a restart", fresh)
	if keys := keysOf(t, s); len(keys) != 2 || keys[0].Retired == "" || keys[1].Retired != "" {
		t.Errorf("the ring is %v, want the first key retired", keys)
	}
}

// A key can be retired without force once no token of it can be in use.
func TestAKeyRetiresWhenItsTokensAreOutOfDate(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	s.Must(t, http.MethodPost, "/api/keys", nil)
	idle := core.DefaultConfig().Token.RefreshIdle.Std()
	s.Clock.Advance(idle - time.Hour)
	if status, _ := s.Operate(t, http.MethodPost, "/api/keys/1/retire", map[string]bool{}); status != 409 {
		t.Errorf("an hour before its tokens are out of date: %d, want 409", status)
	}
	s.Clock.Advance(2 * time.Hour)
	s.Must(t, http.MethodPost, "/api/keys/1/retire", map[string]bool{})
}

func TestAFullRingIsNotRotated(t *testing.T) {
	t.Parallel()
	s := coretest.Empty(t, quick)
	for range 254 {
		s.Must(t, http.MethodPost, "/api/keys", nil)
	}
	if status, reply := s.Operate(t, http.MethodPost, "/api/keys", nil); status != 409 || !strings.Contains(string(reply), "all 255 keys") {
		t.Errorf("the 256th key is answered %d %s, want 409 with a sentence", status, reply)
	}
	if keys := keysOf(t, s); len(keys) != 255 || !keys[254].Current {
		t.Errorf("the ring has %d keys, want 255 with the last as the current one", len(keys))
	}
}
