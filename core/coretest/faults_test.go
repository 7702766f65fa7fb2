package coretest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/enginetest/faulty"
)

// sickServer is a server whose store fails when a test wants it to.
type sickServer struct {
	*coretest.Server
	engine *faulty.Engine
}

// startSick runs a server where everyone who is signed in may have everything: no
// plugin is asked, and a restart takes a moment.
func startSick(t *testing.T, change ...func(*core.Config)) *sickServer {
	t.Helper()
	s := sicken(coretest.Empty, t, append(change, func(c *core.Config) { c.Plugin = nil })...)
	for _, it := range coretest.Catalogue() {
		if _, err := s.Catalog.Put(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// sicken starts a server in one way or another.
func sicken(start func(testing.TB, func(*core.Config)) *coretest.Server, t *testing.T, change ...func(*core.Config)) *sickServer {
	t.Helper()
	s := new(sickServer)
	s.Server = start(t, func(c *core.Config) {
		quick(c)
		c.Engine = func(e store.Engine) store.Engine {
			s.engine = faulty.New(e)
			return s.engine
		}
		for _, f := range change {
			f(c)
		}
	})
	return s
}

// eachFault plays a story once with each fault, on one server: every time somebody
// else is in it.
func eachFault(t *testing.T, s *sickServer, story func(t *testing.T, fault faulty.Fault, account string)) {
	t.Helper()
	for _, fault := range []faulty.Fault{faulty.Full, faulty.Lost, faulty.Kept, faulty.StopLost, faulty.StopKept} {
		t.Run(fault.String(), func(t *testing.T) { story(t, fault, newClientID()+"@example.com") })
	}
}

// heal is what an operator does after a fault: a restart, where writes have stopped.
func (s *sickServer) heal(t *testing.T, f faulty.Fault) {
	t.Helper()
	if stops(f) {
		s.Restart(t)
	}
}

func stops(f faulty.Fault) bool { return f == faulty.StopLost || f == faulty.StopKept }

// survives says whether a write that met the fault is there in the end.
func survives(f faulty.Fault) bool { return f == faulty.Kept || f == faulty.StopKept }

// try is send for requests that may fail.
func try(t testing.TB, method, to, contentType, body string, header ...string) answer {
	t.Helper()
	res, err := agent.Do(request(t, method, to, contentType, body, header...))
	if err != nil {
		t.Errorf("%s %s: %v", method, to, err)
		return answer{header: http.Header{}}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %s: read the answer: %v", method, to, err)
	}
	return answer{res.StatusCode, res.Header, text}
}

func (s *sickServer) try(t testing.TB, form url.Values) answer {
	t.Helper()
	return try(t, http.MethodPost, s.PublicURL()+"/oauth/token", formType, form.Encode())
}

// unavailable checks that a client is told to come back, and gets nothing.
func (a answer) unavailable(t testing.TB, what string) {
	t.Helper()
	pause, err := strconv.Atoi(a.header.Get("Retry-After"))
	if a.status != 503 || err != nil || pause < 1 || pause > 60 {
		t.Errorf("%s: answered %d with Retry-After %q, want 503 and a pause: %s", what, a.status, a.header.Get("Retry-After"), a.body)
	}
	if strings.Contains(string(a.body), "access_token") {
		t.Errorf("%s: answered with a token: %s", what, a.body)
	}
}

// A refresh that fails costs no sign-in: the device asks again with the same token
// and gets one successor, whether the failed write was kept or not.
func TestFaultsOfARefresh(t *testing.T) {
	t.Parallel()
	s := startSick(t)
	eachFault(t, s, func(t *testing.T, fault faulty.Fault, account string) {
		held := deviceOf(t, s.Server, account)
		s.engine.Next('F', fault)
		s.try(t, refreshForm(held.refresh)).unavailable(t, "the refresh")
		if stops(fault) {
			s.try(t, refreshForm(held.refresh)).unavailable(t, "the refresh, again")
		}
		s.heal(t, fault)
		next := refresh(t, s.Server, held.refresh).granted(t, "the refresh, when the store is well")
		if again := refresh(t, s.Server, held.refresh).granted(t, "once more"); again != next {
			t.Error("a repeated refresh has another successor")
		}
		goesOn(t, s.Server, "the device", next)
		if list := sessionsOf(t, s.Server, account); len(list) != 1 {
			t.Errorf("the sign-ins are %v, want one", list)
		}
	})
}

// A code comes to one sign-in at most. Where it may be spent nobody is told to try
// it again: that looks like a thief, and ends what came of it.
func TestFaultsOfACode(t *testing.T) {
	t.Parallel()
	s := sicken(coretest.Start, t)
	eachFault(t, s, func(t *testing.T, fault faulty.Fault, _ string) {
		r := deviceSignIn(coretest.Alice)
		form := r.redemption(r.aliceCode(t, s.Server))
		s.engine.Next('F', fault)
		first := s.try(t, form)
		if fault == faulty.Full {
			first.unavailable(t, "the code")
		} else if first.status != 500 || first.object(t)["error"] != "server_error" || strings.Contains(string(first.body), "token\"") {
			t.Errorf("the code answered %d %s, want server_error", first.status, first.body)
		}
		s.heal(t, fault)
		if survives(fault) {
			token(t, s.Server, form).refused(t, "the code, that is spent", 400, "invalid_grant")
			if list := sessionsOf(t, s.Server, coretest.Alice); len(list) != 0 {
				t.Errorf("the sign-ins are %v, want none", list)
			}
			return
		}
		got := token(t, s.Server, form).granted(t, "the code, that was not spent")
		if list := sessionsOf(t, s.Server, coretest.Alice); len(list) != 1 {
			t.Errorf("the sign-ins are %v, want one", list)
		}
		token(t, s.Server, form).refused(t, "the code, a second time", 400, "invalid_grant")
		ended(t, s.Server, "after the second time", got)
	})
}

// A subject token is its first client's, whichever of the writes of an exchange
// fails.
func TestFaultsOfAnExchange(t *testing.T) {
	t.Parallel()
	s := startSick(t)
	for _, table := range []byte("TSF") {
		t.Run(string(table), func(t *testing.T) {
			eachFault(t, s, func(t *testing.T, fault faulty.Fault, account string) {
				subject := s.SubjectToken(t, account)
				form := exchangeForm(subject, newClientID())
				s.engine.Next(table, fault)
				s.try(t, form).unavailable(t, "the exchange")
				s.heal(t, fault)
				got := token(t, s.Server, form).granted(t, "the exchange, when the store is well")
				token(t, s.Server, exchangeForm(subject, newClientID())).refused(t, "the token, of another client", 400, "invalid_request")
				goesOn(t, s.Server, "the device", got)
			})
		})
	}
}

// A sign-out that was answered is one, and one that was not can be repeated.
func TestFaultsOfASignOut(t *testing.T) {
	t.Parallel()
	s := startSick(t)
	for _, table := range []byte("UXF") {
		t.Run(string(table), func(t *testing.T) {
			eachFault(t, s, func(t *testing.T, fault faulty.Fault, account string) {
				s.signOut(t, table, fault, account, func() (int, []byte) {
					return s.Operate(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(account)+"/sessions", nil)
				})
			})
		})
	}
}

// So is another password, in whichever half of it the write fails.
func TestFaultsOfAPassword(t *testing.T) {
	t.Parallel()
	s := startSick(t)
	for table, fault := range map[byte]faulty.Fault{'P': faulty.Kept, 'U': faulty.StopLost, 'F': faulty.Lost} {
		t.Run(fmt.Sprintf("%c, %v", table, fault), func(t *testing.T) {
			account := strings.ToLower(newClientID()) + "@example.com"
			s.AddPerson(t, account, coretest.AlicePassword)
			s.signOut(t, table, fault, account, func() (int, []byte) {
				return s.Operate(t, http.MethodPut, "/api/people/"+url.PathEscape(account), map[string]string{"password": "through the looking-glass"})
			})
		})
	}
}

func (s *sickServer) signOut(t *testing.T, table byte, fault faulty.Fault, account string, signOut func() (int, []byte)) {
	t.Helper()
	devices := []tokens{deviceOf(t, s.Server, account), deviceOf(t, s.Server, account)}
	other := deviceOf(t, s.Server, coretest.Bob)
	s.engine.Next(table, fault)
	if status, reply := signOut(); status != 503 && status != 507 {
		t.Fatalf("the sign-out answered %d %s, want 503, or 507 where the disk is full", status, reply)
	}
	s.heal(t, fault)
	if status, reply := signOut(); status != 200 {
		t.Fatalf("the sign-out, when the store is well, answered %d %s", status, reply)
	}
	for _, d := range devices {
		ended(t, s.Server, "the device", d)
	}
	if stops(fault) {
		s.Restart(t)
		for _, d := range devices {
			ended(t, s.Server, "the device, after another restart", d)
		}
	}
	goesOn(t, s.Server, "another account", other)
}

// What an operator repeats is written once.
func TestFaultsOfGrants(t *testing.T) {
	t.Parallel()
	s := startSick(t)
	eachFault(t, s, func(t *testing.T, fault faulty.Fault, account string) {
		path := "/api/accounts/" + url.PathEscape(account) + "/grants"
		s.Grant(t, account, "sub:basic")
		s.engine.Next('U', fault)
		body := map[string][]string{"add": {coretest.PlusGrant}}
		if status, reply := s.Operate(t, http.MethodPut, path, body); status != 503 && status != 507 {
			t.Fatalf("the grant answered %d %s, want 503, or 507 where the disk is full", status, reply)
		}
		s.heal(t, fault)
		var a struct{ Grants []string }
		if err := json.Unmarshal(s.Must(t, http.MethodPut, path, body), &a); err != nil || !slices.Equal(a.Grants, []string{"sub:basic", coretest.PlusGrant}) {
			t.Errorf("the grants are %v, %v", a.Grants, err)
		}
	})
}

// A first download is remembered before its token is given.
func TestFaultsOfADownload(t *testing.T) {
	t.Parallel()
	s := startSick(t)
	eachFault(t, s, func(t *testing.T, fault faulty.Fault, account string) {
		access := deviceOf(t, s.Server, account).access
		body := appsBody("iOS", deviceOS, notesNew)
		s.engine.Next('U', fault)
		a := try(t, http.MethodPost, s.PublicURL()+"/install-token", jsonType, body, "Authorization", "Bearer "+access)
		a.unavailable(t, "the install token")
		s.heal(t, fault)
		ask(t, s.Server, "/install-token", access, body).apps(t, "installs").gives(t, "the install token, when the store is well", []app{notesNew})
		ask(t, s.Server, "/install-token", access, body).apps(t, "installs").gives(t, "once more", []app{notesNew})
	})
}

// While nothing can be written, all goes on that needs no write; who needs one is
// told to come back; and the operator can see why.
func TestReadsGoOnWhileWritesAreStopped(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(t *testing.T, s *sickServer, device tokens){
		"full": func(_ *testing.T, s *sickServer, _ tokens) { s.engine.SetFull(true) },
		"stopped": func(t *testing.T, s *sickServer, device tokens) {
			s.engine.Next('F', faulty.StopLost)
			s.try(t, refreshForm(device.refresh)).unavailable(t, "the commit that fails")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sicken(coretest.Start, t)
			device := deviceOf(t, s.Server, coretest.Alice)
			gone := deviceOf(t, s.Server, coretest.Bob)
			s.Must(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(coretest.Bob)+"/sessions", nil)
			link := s.SubjectToken(t, coretest.Alice)
			r := deviceSignIn(coretest.Alice)
			code := r.aliceCode(t, s.Server)
			stop(t, s, device)

			for range 2 {
				updates(t, s.Server, device.access, deviceOS, notesNew).gives(t, "a check without news", nil)
				updates(t, s.Server, device.access, deviceOS, notesOld).gives(t, "a check with news", []app{notesNew})
				restore(t, s.Server, device.access, deviceOS, notesNew).gives(t, "a restore", []app{notesNew})
				if status := opens(t, s.Server, gone.access); status != 403 {
					t.Errorf("who was signed out before answered %d, want 403", status)
				}
				open(t, s.Server, deviceSignIn(coretest.Alice).query())
				s.try(t, refreshForm(device.refresh)).unavailable(t, "a refresh")
				s.try(t, exchangeForm(link, newClientID())).unavailable(t, "an exchange")
				s.try(t, r.redemption(code)).unavailable(t, "a code")
			}
			status, reply := s.Operate(t, http.MethodPut, "/api/accounts/"+url.PathEscape(coretest.Alice)+"/grants", map[string][]string{"add": {"x"}})
			if want := map[string]int{"full": 507, "stopped": 503}[name]; status != want || !strings.Contains(string(reply), "writes have stopped") {
				t.Errorf("a grant answered %d %s, want %d and why", status, reply, want)
			}

			status, reply = s.Operate(t, http.MethodGet, "/readyz", nil)
			if want := map[string]int{"full": 200, "stopped": 503}[name]; status != want || !strings.Contains(string(reply), "writes have stopped") {
				t.Errorf("/readyz answered %d %s, want %d and that writes have stopped", status, reply, want)
			}
			if status, _ := s.Operate(t, http.MethodGet, "/healthz", nil); status != 200 {
				t.Errorf("/healthz answered %d, want 200", status)
			}
			m := scrape(t, s.Server)
			m.is(t, map[string]float64{"full": 1}[name], "souk_store_writes_stopped", "why=disk full")
			m.is(t, map[string]float64{"stopped": 1}[name], "souk_store_writes_stopped", "why=commit failed")

			// What was told to come back comes back, to the same.
			if name == "full" {
				s.engine.SetFull(false)
			} else {
				s.Restart(t)
			}
			goesOn(t, s.Server, "the device", device)
			token(t, s.Server, exchangeForm(link, newClientID())).granted(t, "the exchange")
			token(t, s.Server, r.redemption(code)).granted(t, "the code")
			if status, reply := s.Operate(t, http.MethodGet, "/readyz", nil); status != 200 || strings.Contains(string(reply), "writes") {
				t.Errorf("in the end /readyz answered %d %s", status, reply)
			}
			scrape(t, s.Server).is(t, 0, "souk_store_writes_stopped", "why="+map[string]string{"full": "disk full", "stopped": "commit failed"}[name])
		})
	}
}

// A disk that takes longer than a request may: whoever waits for it is told to come
// back, others don't notice, and what was written late is found.
func TestSlowSync(t *testing.T) {
	t.Parallel()
	s := startSick(t, func(c *core.Config) { c.Limits.Request /= 4 })
	device := deviceOf(t, s.Server, coretest.Alice)
	release := s.engine.Hold()
	waits := make(chan answer, 1)
	go func() { waits <- s.try(t, refreshForm(device.refresh)) }()
	updates(t, s.Server, device.access, deviceOS, notesOld).gives(t, "a check beside it", []app{notesNew})
	(<-waits).unavailable(t, "a refresh that waits for the disk")
	release()
	next := refresh(t, s.Server, device.refresh).granted(t, "the refresh, again")
	if again := refresh(t, s.Server, device.refresh).granted(t, "once more"); again != next {
		t.Error("a repeated refresh has another successor")
	}
	goesOn(t, s.Server, "the device", next)
}

// Many devices refresh again and again while one write in five fails. None of them
// loses its sign-in, and none gets a second one.
func TestManyRefreshesAmidFaults(t *testing.T) {
	t.Parallel()
	const devices, rounds, seed = 16, 15, 7
	s := startSick(t)
	var held [devices]tokens
	for i := range held {
		held[i] = deviceOf(t, s.Server, fmt.Sprintf("device-%d@example.com", i))
	}
	s.engine.Script(faulty.Random(seed, 20, faulty.Full, faulty.Lost, faulty.Kept, faulty.Conflict))
	var failed atomic.Int64
	atOnce(devices, func(i int) {
		for round := range rounds {
			for tries := 0; ; tries++ {
				a := s.try(t, refreshForm(held[i].refresh))
				if a.status == 503 && tries < 50 {
					failed.Add(1)
					continue
				}
				next := a.granted(t, fmt.Sprintf("device %d, round %d, try %d", i, round, tries))
				if a.status != 200 {
					return
				}
				held[i] = next
				break
			}
		}
	})
	s.engine.Script(nil)
	t.Logf("faults | seed %d | devices %d | refreshes %d | answered 503 and repeated %d", seed, devices, devices*rounds, failed.Load())
	if failed.Load() == 0 || s.engine.Met(faulty.Kept) == 0 || s.engine.Met(faulty.Lost) == 0 || s.engine.Met(faulty.Full) == 0 {
		t.Error("nothing failed: this shows nothing")
	}
	for i := range held {
		goesOn(t, s.Server, fmt.Sprintf("device %d", i), held[i])
		if list := sessionsOf(t, s.Server, fmt.Sprintf("device-%d@example.com", i)); len(list) != 1 {
			t.Errorf("device %d has the sign-ins %v, want one", i, list)
		}
	}
}
