package oauth_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/token"
)

// The tables of accounts, families, revocations and sign-outs; see keys.go of package store.
const (
	tableAccount    = 'U'
	tableFamily     = 'F'
	tableRevocation = 'X'
	tableSignOut    = 'E'
)

// interrupted is an engine before whose updates and scans something happens.
type interrupted struct {
	store.Engine
	before func(store.Key) error
	scans  func()
}

func (e *interrupted) Scan(ctx context.Context, table byte, part, after string, limit int) ([]store.Item, error) {
	if e.scans != nil {
		e.scans()
	}
	return e.Engine.Scan(ctx, table, part, after, limit)
}

func (e *interrupted) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	if e.before != nil {
		if err := e.before(k); err != nil {
			return store.Item{}, err
		}
	}
	return e.Engine.Update(ctx, k, f)
}

// endings is a server for tests of how sign-ins end: its people come with subject
// tokens, so no page is needed.
type endings struct {
	*oauth.Server
	t      *testing.T
	engine *interrupted
}

func newEndings(t *testing.T) *endings {
	t.Helper()
	memory, err := badger.Open(badger.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
	key, err := token.NewKey(rand.Reader, 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := token.NewRing([]token.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	clients, err := oauth.NewClients("https://market.example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &endings{t: t, engine: &interrupted{Engine: memory}}
	s.Server = &oauth.Server{
		Issuer: "https://market.example.com", Config: oauth.DefaultConfig(), Lives: oauth.DefaultLives(), Clients: clients,
		Ring: func() *token.Ring { return ring }, Now: time.Now, Rand: rand.Reader,
	}
	s.start()
	return s
}

// start is a process that begins over what the engine has.
func (s *endings) start() {
	s.t.Helper()
	opened, err := store.Open(s.t.Context(), s.engine, store.Config{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Store = opened
}

const endingsAccount = "alice@example.com"

func (s *endings) exchange(subjectToken string) (*oauth.TokenResponse, error) {
	return s.Token(s.t.Context(), oauth.TokenRequest{Params: oauth.Params{
		"grant_type": oauth.GrantTokenExchange, "client_id": "D4C1C937-D9B4-4BB6-BCD3-5E0850143EF5",
		"subject_token": subjectToken, "subject_token_type": oauth.TypeAccessToken,
	}})
}

func (s *endings) signIn() *oauth.TokenResponse {
	s.t.Helper()
	subjectToken, err := s.SubjectToken(s.t.Context(), endingsAccount)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := s.exchange(subjectToken)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *endings) refresh(refreshToken string) (*oauth.TokenResponse, error) {
	return s.Token(s.t.Context(), oauth.TokenRequest{Params: oauth.Params{"grant_type": "refresh_token", "refresh_token": refreshToken}})
}

// over checks that a sign-in has ended, here and in a process that starts now.
func (s *endings) over(what string, r *oauth.TokenResponse) {
	s.t.Helper()
	for _, when := range []string{"", ", after a restart"} {
		if _, err := s.Bearer([]byte(r.AccessToken), oauth.AudienceMarket); !errors.Is(err, oauth.ErrRevoked) {
			s.t.Errorf("%s%s: the access token gives %v, want %v", what, when, err, oauth.ErrRevoked)
		}
		var e *oauth.Error
		if _, err := s.refresh(r.RefreshToken); !errors.As(err, &e) || e.Code != oauth.InvalidGrant {
			s.t.Errorf("%s%s: the refresh token gives %v, want %s", what, when, err, oauth.InvalidGrant)
		}
		s.start()
	}
}

// A device that exchanges a token while its account is signed out everywhere comes
// before, and is signed out, or after, with a token of after. It must not come out with
// an access token that is good until the next refresh.
func TestSignOutReachesASignInUnderWay(t *testing.T) {
	s := newEndings(t)
	subjectToken, err := s.SubjectToken(t.Context(), endingsAccount)
	if err != nil {
		t.Fatal(err)
	}
	s.engine.before = func(k store.Key) error {
		if k.Table != tableFamily {
			return nil
		}
		s.engine.before = nil // the family is about to be created
		_, err := s.RevokeAccount(t.Context(), endingsAccount)
		return err
	}
	var e *oauth.Error
	if r, err := s.exchange(subjectToken); !errors.As(err, &e) || e.Code != oauth.InvalidRequest {
		t.Errorf("exchange during a sign-out everywhere = %v, %v, want %s", r, err, oauth.InvalidRequest)
	}
	if s.engine.before != nil {
		t.Fatal("no family was created: the test does not test")
	}
	left, err := s.Sessions(t.Context(), endingsAccount)
	if err != nil || len(left) > 0 {
		t.Errorf("the account has the sign-ins %v, %v, want none", left, err)
	}
	all, err := s.Store.Sessions(t.Context(), store.SubjectID(endingsAccount))
	if err != nil || len(all) != 1 || all[0].Family.State != store.Revoked || !s.Store.RevocationSet().Contains(all[0].ID) {
		t.Errorf("the store has the sign-ins %+v, %v, want one that is revoked, its access tokens too", all, err)
	}
	s.signIn() // the account itself is well
}

// An operator's end that stops half-way leaves a sign-in without access tokens. The
// device asks for new ones then, and that is the end.
func TestRefreshBringsAnEndingToItsEnd(t *testing.T) {
	s := newEndings(t)
	r := s.signIn()
	s.engine.before = func(k store.Key) error {
		if k.Table == tableFamily {
			return store.ErrUnknown // and it did not happen
		}
		return nil
	}
	if _, err := s.Revoke(t.Context(), endingsAccount, func(oauth.Session) bool { return true }); err == nil {
		t.Fatal("an end that was not written was acknowledged")
	}
	s.engine.before = nil
	s.start()
	s.over("an ending that stopped half-way", r)
}

// A sign-out everywhere that stops half-way has raised the account's epoch and leaves
// sign-ins that look good. The device that refreshes next is told, by this process and
// by one that starts later; a sign-out that has come to its end leaves nothing to tell.
func TestRefreshBringsASignOutToItsEnd(t *testing.T) {
	for _, restart := range []bool{false, true} {
		s := newEndings(t)
		first, second := s.signIn(), s.signIn()
		s.engine.before = func(k store.Key) error {
			if k.Table == tableFamily || k.Table == tableRevocation {
				return store.ErrUnknown // and it did not happen
			}
			return nil
		}
		if _, err := s.RevokeAccount(t.Context(), endingsAccount); err == nil {
			t.Fatal("a sign-out that was not written was acknowledged")
		}
		s.engine.before = nil
		if restart {
			s.start()
		}
		var e *oauth.Error
		if r, err := s.refresh(first.RefreshToken); !errors.As(err, &e) || e.Code != oauth.InvalidGrant {
			t.Errorf("the next refresh (restarted: %v) gives %v, %v, want %s", restart, r, err, oauth.InvalidGrant)
		}
		s.over("a sign-out that stopped half-way", first)
		if _, err := s.RevokeAccount(t.Context(), endingsAccount); err != nil { // once more, and to its end
			t.Fatal(err)
		}
		s.over("a sign-out that was asked for again", second)
		if s.Store.SigningOut(store.SubjectID(endingsAccount)) {
			t.Error("a sign-out that came to its end is still under way")
		}
		if _, err := s.refresh(s.signIn().RefreshToken); err != nil {
			t.Errorf("a sign-in after it gives %v", err)
		}
	}
}

// A process dies at each write of a sign-out everywhere, before the write or after it. The
// next one finds all sign-ins ended or all of them good, brings what has begun to its
// end, and nothing is left to look at: also if it dies at each write of that.
func TestAStartBringsASignOutToItsEnd(t *testing.T) {
	died := errors.New("the process has died")
	// dies lets so many writes pass, and the one after them if it is made before the end.
	dies := func(s *endings, writes int, made bool) (dead func() bool) {
		over := false
		s.engine.before = func(store.Key) error {
			switch {
			case over:
				return died
			case writes == 0:
				if over = true; !made {
					return died
				}
			}
			writes--
			return nil
		}
		return func() bool { return over }
	}
	begun, finished, never := 0, 0, 0
	for cut := 0; ; cut++ {
		reached := false
		for _, made := range []bool{false, true} {
			for again := 0; ; again++ {
				s := newEndings(t)
				first, second := s.signIn(), s.signIn()
				dead := dies(s, cut, made)
				_, err := s.RevokeAccount(t.Context(), endingsAccount)
				reached = reached || dead()
				acknowledged := err == nil && !dead()
				s.engine.before = nil
				s.start()
				a, err := s.Store.Account(t.Context(), store.SubjectID(endingsAccount))
				if err != nil {
					t.Fatal(err)
				}
				if acknowledged && a.Epoch != 1 {
					t.Fatalf("a sign-out that was acknowledged has left the epoch %d", a.Epoch)
				}
				dead = dies(s, again, made) // in the middle of the finish, too
				_, err = s.FinishSignOuts(t.Context())
				cutAgain := dead()
				if err != nil && !cutAgain {
					t.Fatalf("FinishSignOuts = %v", err)
				}
				s.engine.before = nil
				s.start()
				if _, err := s.FinishSignOuts(t.Context()); err != nil {
					t.Fatalf("FinishSignOuts = %v", err)
				}
				for _, when := range []string{"", ", after a restart"} {
					if left := s.Store.SignOuts(); len(left) > 0 {
						t.Errorf("cut off at write %d and %d (made: %v)%s: %d sign-outs are still under way", cut, again, made, when, len(left))
					}
					s.start()
				}
				if a.Epoch == 0 {
					never++
					for _, r := range []*oauth.TokenResponse{first, second} {
						if _, err := s.refresh(r.RefreshToken); err != nil {
							t.Errorf("cut off at write %d, before the sign-out began: a refresh gives %v", cut, err)
						}
					}
				} else {
					begun++
					s.over("a sign-out that was cut off and finished", first)
					s.over("a sign-out that was cut off and finished", second)
				}
				if !cutAgain {
					break
				}
				finished++
			}
		}
		if !reached {
			break
		}
	}
	if begun < 10 || finished < 10 || never < 2 {
		t.Errorf("%d sign-outs had begun, %d were cut off again, %d never began: the test does not test", begun, finished, never)
	}
}

// While a sign-out everywhere is under way a device refreshes: the account is looked at,
// and the sign-in ends.
func TestRefreshDuringASignOut(t *testing.T) {
	s := newEndings(t)
	r := s.signIn()
	var during error
	s.engine.before = func(k store.Key) error {
		if k.Table != tableRevocation {
			return nil
		}
		s.engine.before = nil // the epoch is raised, and no sign-in has ended yet
		_, during = s.refresh(r.RefreshToken)
		return nil
	}
	if _, err := s.RevokeAccount(t.Context(), endingsAccount); err != nil {
		t.Fatal(err)
	}
	var e *oauth.Error
	if s.engine.before != nil || !errors.As(during, &e) || e.Code != oauth.InvalidGrant {
		t.Errorf("a refresh during a sign-out everywhere gives %v, want %s", during, oauth.InvalidGrant)
	}
	s.over("a sign-out everywhere", r)
}

// Reuse ends a sign-in, its access tokens first: if the process dies half-way, nobody
// finds one that is over already and lets its access tokens be.
func TestReuseEndsAccessTokensFirst(t *testing.T) {
	s := newEndings(t)
	first := s.signIn()
	second, err := s.refresh(first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	third, err := s.refresh(second.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	s.engine.before = func(k store.Key) error {
		if k.Table == tableRevocation {
			return store.ErrUnknown
		}
		return nil
	}
	var e *oauth.Error
	if _, err := s.refresh(first.RefreshToken); !errors.As(err, &e) || e.Code != oauth.TemporarilyUnavailable {
		t.Errorf("a reuse whose end was not written gives %v, want %s", err, oauth.TemporarilyUnavailable)
	}
	s.engine.before = nil
	s.start()
	if live, err := s.Sessions(t.Context(), endingsAccount); err != nil || len(live) != 1 {
		t.Errorf("after it the sign-ins are %v, %v, want the one, for an operator to end", live, err)
	}
	if _, err := s.refresh(first.RefreshToken); !errors.As(err, &e) || e.Code != oauth.InvalidGrant {
		t.Errorf("the next reuse gives %v, want %s", err, oauth.InvalidGrant)
	}
	s.over("a reuse", third)
}

// An account that was lost, with its epoch, and begun anew may have sign-ins of epochs that
// it has not reached: they are older than each sign-out, and not newer.
func TestSignOutReachesSignInsOfALostAccount(t *testing.T) {
	s := newEndings(t)
	s.signIn()
	for range 3 {
		if _, err := s.RevokeAccount(t.Context(), endingsAccount); err != nil {
			t.Fatal(err)
		}
	}
	lost := s.signIn() // of epoch 3
	subject := store.SubjectID(endingsAccount)
	if err := s.engine.Apply(t.Context(), store.Op{Key: store.Key{Table: tableAccount, Part: string(subject[:])}, Delete: true}); err != nil {
		t.Fatal(err)
	}
	s.start()
	anew := s.signIn() // of epoch 0
	if _, err := s.RevokeAccount(t.Context(), endingsAccount); err != nil {
		t.Fatal(err)
	}
	s.over("a sign-in of the account that was lost", lost)
	s.over("a sign-in of the account that was begun anew", anew)
}

// A sign-in that comes between two sign-outs is the second one's to end, however late the
// first goes on.
func TestSignOutLeavesALaterSignIn(t *testing.T) {
	s := newEndings(t)
	old := s.signIn()
	var later *oauth.TokenResponse
	raised := false
	s.engine.before = func(k store.Key) error {
		raised = raised || k.Table == tableSignOut // or it is about to be
		return nil
	}
	s.engine.scans = func() {
		if !raised {
			return
		}
		s.engine.before, s.engine.scans = nil, nil // the first has its epoch, and is about to look for sign-ins
		if _, err := s.RevokeAccount(t.Context(), endingsAccount); err != nil {
			t.Error(err)
		}
		later = s.signIn()
	}
	if _, err := s.RevokeAccount(t.Context(), endingsAccount); err != nil {
		t.Fatal(err)
	}
	s.over("a sign-in from before", old)
	if later == nil {
		t.Fatal("nobody has signed in meanwhile: the test does not test")
	}
	if _, err := s.refresh(later.RefreshToken); err != nil {
		t.Errorf("a sign-in of after both gives %v", err)
	}
}

// A sign-out of which nobody could note that it is over is not said to be over.
func TestASignOutWhoseEndIsNotNotedIsAnError(t *testing.T) {
	s := newEndings(t)
	s.signIn()
	s.engine.before = func(k store.Key) error {
		if k.Table == tableFamily {
			return store.ErrUnknown
		}
		return nil
	}
	if _, err := s.RevokeAccount(t.Context(), endingsAccount); err == nil {
		t.Fatal("a sign-out that was not written was acknowledged")
	}
	s.engine.before = nil
	s.start()
	s.engine.before = func(k store.Key) error {
		if k.Table == tableSignOut {
			return store.ErrUnknown
		}
		return nil
	}
	if ended, err := s.FinishSignOuts(t.Context()); ended != 1 || !errors.Is(err, store.ErrUnknown) || len(s.Store.SignOuts()) != 1 {
		t.Errorf("FinishSignOuts = %d, %v, with %d left: want one sign-in, an error, and the note", ended, err, len(s.Store.SignOuts()))
	}
	s.engine.before = nil
	if ended, err := s.FinishSignOuts(t.Context()); ended != 0 || err != nil || len(s.Store.SignOuts()) != 0 {
		t.Errorf("FinishSignOuts again = %d, %v, with %d left: want nothing", ended, err, len(s.Store.SignOuts()))
	}
}
