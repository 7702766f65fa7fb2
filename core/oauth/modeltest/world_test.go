package modeltest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/core/unit"
)

const (
	account     = "carol@example.com" // whom the page of the tests signs in
	issuer      = "https://market.example.com"
	appClient   = "com.example.partner"
	appRedirect = "com.example.partner:/back"
	keysAtMost  = 5
)

// rings are the key rings that there can be: [oldest][newest].
var rings = sync.OnceValue(func() (all [keysAtMost + 1][keysAtMost + 1]*token.Ring) {
	var keys []token.Key
	for id := byte(1); id <= keysAtMost; id++ {
		k := token.Key{ID: id, Created: time.Unix(1_900_000_000+int64(id), 0)}
		k.Secret = sha256.Sum256([]byte{id})
		keys = append(keys, k)
	}
	for from := 1; from <= keysAtMost; from++ {
		for to := from; to <= keysAtMost; to++ {
			ring, err := token.NewRing(keys[from-1 : to])
			if err != nil {
				panic(err)
			}
			all[from][to] = ring
		}
	}
	return all
})

var clients = sync.OnceValue(func() *oauth.Clients {
	c, err := oauth.NewClients(issuer, []oauth.ClientConfig{{ID: appClient, Name: "Partner", RedirectURIs: []string{appRedirect}}})
	if err != nil {
		panic(err)
	}
	return c
})

// world is a history while it happens.
type world struct {
	script   *script
	plugins  *plugin.Host
	plant    *plant
	attempts *oauth.Attempts
	rng      *rand.Rand // the schedule
	random   *random
	space    string

	now    atomic.Int64 // milliseconds since 1970
	oldest int
	newest atomic.Int64 // key
	ticks  atomic.Int64

	mu       sync.Mutex // the rest, where callers run at once
	life     *life
	running  []*op
	everyone []*op // that had to do with all: sign-outs, their finishes and crashes
	signIns  []*family
	subjects []*subjectToken
	parties  []*party
	texts    map[string]int
	born     map[string]*life // which process answered a text first
	pairs    map[string]pair  // by the text of a refresh token, or an access token
	faulty   []string         // what is wrong, as sentences
	lines    []line           // what happened besides calls
	tally    tally
	outSince int64 // tick at which the last sign-out everywhere ended
}

// life is a process between its start and its death.
type life struct {
	engine store.Engine
	port   *port
	server *oauth.Server
}

// family is one sign-in, from its code on.
type family struct {
	number   int
	device   bool
	client   string
	code     string
	verifier string
	id       [16]byte
	named    bool // id is known
	tried    bool // somebody redeems its code, or did
	tainted  bool // somebody but its owner had to do with it, or ended it
	access   []string
	ops      []*op
	kept     int64 // when the server last heard of it, at the latest
	created  int64
	settled  bool // its end was acknowledged
}

// party is somebody who holds a refresh token.
type party struct {
	number  int
	family  *family
	thief   bool
	out     bool // was refused
	refresh string
	before  []string // that it held earlier
	asking  int      // requests under way
	sending string   // the token of these
	tried   int64    // since when it tries this token; 0 = not yet
	late    []uint32 // generations in which it may have been late
}

// subjectToken is one that this server issued.
type subjectToken struct {
	number int
	text   string
	ops    []*op
}

// op is one call, from its begin to its end.
type op struct {
	number     int
	life       *life
	family     *family
	subject    *subjectToken
	party      *party
	call       call
	answer     answer
	begin, end int64
	at         int64 // the clock at its begin
	what       string
	sent       string // token
	run        func(ctx context.Context) (answer, error)
	finish     func(a answer)
}

func (o *op) landed(at int64) { o.end = max(o.end, at) }

type line struct {
	tick, at int64
	text     string
}

// tally counts what came up.
type tally map[string]int

func (t tally) add(other tally) {
	for k, n := range other {
		t[k] += n
	}
}

func (w *world) tick() int64      { return w.ticks.Add(1) }
func (w *world) clock() time.Time { return time.UnixMilli(w.now.Load()).UTC() }
func (w *world) ring() *token.Ring {
	return rings()[w.oldest][w.newest.Load()]
}

// open starts a process over the engine.
func (w *world) open(engine store.Engine, g gate) error {
	port := &port{inner: engine, space: w.space, gate: g, plant: w.plant}
	s, err := store.Open(context.Background(), port, store.Config{Now: w.clock, Accounts: 64})
	if err != nil {
		return err
	}
	ms := func(n int64) unit.Duration { return unit.Duration(time.Duration(n) * time.Millisecond) }
	l := w.script.lives
	lives := oauth.Lives{
		AccessDevice: ms(l.accessDevice), AccessApp: ms(l.accessApp), RefreshIdle: ms(l.idle), RefreshAbsolute: ms(l.absolute),
		Grace: ms(l.grace), Code: ms(l.code),
	}
	if err := lives.Validate(); err != nil {
		return err
	}
	w.plant.lives(&lives)
	w.plant.start(port)
	w.life = &life{engine: engine, port: port, server: &oauth.Server{
		Issuer: issuer, Market: "Market", Config: oauth.DefaultConfig(), Lives: lives, Clients: clients(), Store: s, Ring: w.ring,
		Plugins: w.plugins, Attempts: w.attempts, Now: w.clock, Rand: w.random,
	}}
	return nil
}

// begin notes that a call begins. Called with mu held.
func (w *world) begin(o *op) *op {
	o.life, o.begin, o.at = w.life, w.tick(), w.now.Load()
	o.call.times = []int64{o.at}
	o.call.kids = []byte{byte(w.newest.Load())}
	o.call.lives = &w.script.lives
	w.tally["operations"]++
	o.number = w.tally["operations"]
	w.running = append(w.running, o)
	if o.family != nil {
		o.family.ops = append(o.family.ops, o)
	}
	if o.subject != nil {
		o.subject.ops = append(o.subject.ops, o)
	}
	if o.call.kind == kindSignOut || o.call.kind == kindFinish || o.call.kind == kindCrash {
		w.everyone = append(w.everyone, o)
	}
	return o
}

// complete notes how it ended. Called with mu held.
func (w *world) complete(o *op, a answer, err error) {
	for i, r := range w.running {
		if r == o {
			w.running = append(w.running[:i], w.running[i+1:]...)
			break
		}
	}
	if len(w.running) > 0 {
		w.tally["ended with others under way"]++
	}
	o.end = max(o.end, w.tick())
	o.answer = a
	var e *oauth.Error
	switch {
	case o.life.port.dead.Load() || errors.Is(err, errDied):
		o.answer = answer{outcome: unknown}
		w.tally["cut off by a crash"]++
	case err == nil:
	case errors.Is(err, store.ErrUnknown), errors.Is(err, store.ErrFull), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		o.answer = answer{outcome: unknown}
		w.tally["answered with 5xx"]++
	case errors.As(err, &e) && e.Status() < 500:
		o.answer = answer{outcome: refused}
	default:
		w.fault("call %d, %s: %v", o.number, o.what, err)
		o.answer = answer{outcome: unknown}
	}
	if o.finish != nil {
		o.finish(o.answer)
	}
}

func (w *world) fault(format string, args ...any) {
	w.faulty = append(w.faulty, fmt.Sprintf(format, args...))
}

// move lets time pass. Called with mu held.
func (w *world) move(d time.Duration) {
	now := w.now.Add(d.Milliseconds())
	for _, o := range w.running {
		o.call.times = append(o.call.times, now)
	}
	w.say("time passes: %v", d)
}

func (w *world) say(format string, args ...any) {
	w.lines = append(w.lines, line{w.tick(), w.now.Load(), fmt.Sprintf(format, args...)})
}

func (w *world) text(s string) int {
	if w.texts[s] == 0 {
		w.texts[s] = len(w.texts) + 1
	}
	return w.texts[s]
}

// read takes the tokens of an answer apart. Called with mu held, after a key may have
// been retired: tokens are read with all keys.
func (w *world) read(f *family, r *oauth.TokenResponse) answer {
	all := rings()[1][keysAtMost]
	access, err := all.VerifyAccess([]byte(r.AccessToken), time.Unix(0, 0))
	if err != nil {
		w.fault("an access token that was answered does not verify: %v", err)
		return answer{outcome: unknown}
	}
	refresh, err := all.ParseRefresh([]byte(r.RefreshToken))
	if err != nil {
		w.fault("a refresh token that was answered does not verify: %v", err)
		return answer{outcome: unknown}
	}
	if !f.named {
		f.id, f.named = access.Family, true
	}
	if access.Family != f.id || refresh.Family != f.id || access.KID != refresh.KID {
		w.fault("sign-in %d was answered with tokens of another: access %x, refresh %x", f.number, access.Family, refresh.Family)
	}
	p := pair{
		refresh: w.text(r.RefreshToken), access: w.text(r.AccessToken), generation: refresh.Generation, kid: refresh.KID,
		issued: int64(access.IssuedAt), expires: int64(access.Expires),
	}
	w.pairs[r.RefreshToken], w.pairs[r.AccessToken] = p, p
	if born := w.born[r.RefreshToken]; born == nil {
		w.born[r.RefreshToken] = w.life
	} else if born != w.life {
		w.tally["successor given again by another process"]++
	}
	if len(f.access) == 0 || f.access[len(f.access)-1] != r.AccessToken {
		f.access = append(f.access, r.AccessToken)
	}
	return answer{outcome: done, pair: p, lasts: r.ExpiresIn}
}

// signIn asks for a code, on the page.
func (w *world) signIn(how uint32) *op {
	f := &family{device: how%4 > 0}
	f.client = appClient
	redirect := appRedirect
	if f.device {
		f.client = fmt.Sprintf("00000000-0000-4000-8000-%012X", how%6)
		redirect = oauth.DeviceRedirect
	}
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], w.script.seed)
	binary.BigEndian.PutUint64(b[8:], uint64(w.tick()))
	f.verifier = hex.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(f.verifier))
	p := oauth.Params{
		"response_type": "code", "client_id": f.client, "redirect_uri": redirect,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": oauth.MethodS256,
	}
	o := w.begin(&op{call: call{kind: kindSignIn, device: f.device}, what: "somebody signs in on the page"})
	o.run = func(ctx context.Context) (answer, error) {
		page, err := o.life.server.Authorize(ctx, p, oauth.Visitor{})
		if err != nil {
			return answer{}, err
		}
		to, err := o.life.server.Submit(ctx, oauth.Params{"transaction": page.Page.Transaction, oauth.FieldPrefix + "password": "wonderland"}, oauth.Visitor{})
		if err != nil {
			return answer{}, err
		}
		_, query, _ := strings.Cut(to.Redirect, "?")
		q, err := url.ParseQuery(query)
		if err == nil && q.Get("code") == "" {
			err = fmt.Errorf("the page led to %s", to.Redirect)
		}
		if err != nil {
			return answer{}, err
		}
		f.code = q.Get("code")
		return answer{outcome: done}, nil
	}
	o.finish = func(a answer) {
		if a.outcome == done {
			w.found(f, o)
		}
	}
	return o
}

// found takes note of a sign-in that somebody knows of.
func (w *world) found(f *family, o *op) {
	f.number = len(w.signIns) + 1
	f.tainted = f.tainted || o.begin < w.outSince
	for _, r := range w.running {
		f.tainted = f.tainted || r.call.kind == kindSignOut
	}
	f.ops = append(f.ops, o)
	w.signIns = append(w.signIns, f)
	o.what += fmt.Sprintf(" (sign-in %d)", f.number)
}

// holder makes the party that an answer came to.
func (w *world) holder(f *family, text string) *party {
	p := &party{number: len(w.parties) + 1, family: f, refresh: text}
	w.parties = append(w.parties, p)
	return p
}

// redeem redeems the code of a sign-in.
func (w *world) redeem(f *family, forged, other, lose bool) *op {
	f.tainted = f.tainted || f.tried || forged
	if !other {
		f.tried = true
	}
	p := oauth.Params{"grant_type": "authorization_code", "code": f.code, "code_verifier": f.verifier, "client_id": f.client}
	if !f.device {
		p["redirect_uri"] = appRedirect
	}
	what := fmt.Sprintf("the code of sign-in %d is redeemed", f.number)
	if forged {
		p["code_verifier"] = strings.Repeat("x", 43)
		what += ", with another verifier"
	}
	if other {
		p["client_id"] = "00000000-0000-4000-8000-00000000FFFF"
		what += ", by another client"
	}
	o := w.begin(&op{
		family: f, what: what,
		call: call{kind: kindRedeem, device: f.device, forged: forged, other: other, gone: sealedUnder(f.code) < w.oldest},
	})
	w.grant(o, f, p, func(r *oauth.TokenResponse) {
		if f.created == 0 {
			f.created, f.kept = w.now.Load(), w.now.Load()
		}
		if !lose {
			w.holder(f, r.RefreshToken)
		}
	})
	return o
}

// sealedUnder is the key that a sealed text names, in its second byte.
func sealedUnder(text string) int {
	b, err := base64.RawURLEncoding.DecodeString(text[:4])
	if err != nil {
		return 0
	}
	return int(b[1])
}

// grant makes an op of a request to the token endpoint.
func (w *world) grant(o *op, f *family, p oauth.Params, got func(*oauth.TokenResponse)) {
	var res *oauth.TokenResponse
	o.run = func(ctx context.Context) (a answer, err error) {
		res, err = w.plant.token(w, p, func(p oauth.Params) (*oauth.TokenResponse, error) {
			return o.life.server.Token(ctx, oauth.TokenRequest{Params: p})
		})
		return answer{outcome: done}, err
	}
	before := o.finish
	o.finish = func(a answer) {
		if a.outcome == done {
			o.answer = w.read(f, res)
			got(res)
		}
		if before != nil {
			before(a)
		}
	}
}

// issue asks for a subject token.
func (w *world) issue() *op {
	s := &subjectToken{}
	o := w.begin(&op{call: call{kind: kindIssue}, what: "a subject token is issued"})
	o.run = func(ctx context.Context) (a answer, err error) {
		s.text, err = o.life.server.SubjectToken(ctx, account)
		return answer{outcome: done}, err
	}
	o.finish = func(a answer) {
		if a.outcome == done {
			w.subjects = append(w.subjects, s)
			s.number = len(w.subjects)
			s.ops = append(s.ops, o)
			o.what += fmt.Sprintf(" (subject token %d)", s.number)
		}
	}
	return o
}

// exchange shows a subject token.
func (w *world) exchange(s *subjectToken, client int, lose bool) *op {
	f := &family{device: true, client: fmt.Sprintf("00000000-0000-4000-8000-%012X", client)}
	p := oauth.Params{
		"grant_type": oauth.GrantTokenExchange, "client_id": f.client,
		"subject_token": s.text, "subject_token_type": oauth.TypeAccessToken,
	}
	o := w.begin(&op{
		subject: s, call: call{kind: kindExchange, device: true, client: client},
		what: fmt.Sprintf("subject token %d is exchanged by client %d", s.number, client),
	})
	w.grant(o, f, p, func(r *oauth.TokenResponse) {
		w.found(f, o)
		f.created, f.kept = w.now.Load(), w.now.Load()
		if !lose {
			w.holder(f, r.RefreshToken)
		}
	})
	return o
}

// refresh uses a refresh token of a party.
func (w *world) refresh(p *party, text string, other, lose bool) *op {
	f := p.family
	said := w.pairs[text]
	p.asking++
	p.sending = text
	if p.tried == 0 {
		p.tried = w.now.Load()
	}
	since := p.tried
	w.maybeLate(p, since, said.generation+1)
	settled := f.settled
	params := oauth.Params{"grant_type": "refresh_token", "refresh_token": text}
	who := fmt.Sprintf("party %d", p.number)
	if p.thief {
		who = fmt.Sprintf("thief %d", p.number)
	}
	what := fmt.Sprintf("%s refreshes sign-in %d with generation %d", who, f.number, said.generation)
	if other {
		params["client_id"] = "00000000-0000-4000-8000-00000000FFFF"
		what += ", as another client"
	}
	o := w.begin(&op{
		family: f, party: p, sent: text, what: what,
		call: call{kind: kindRefresh, device: f.device, other: other, token: said, gone: int(said.kid) < w.oldest},
	})
	if lose {
		o.what += " (the answer never arrives)"
	}
	o.finish = func(a answer) {
		if settled && a.outcome == done {
			w.fault("call %d: sign-in %d was refreshed after its end was acknowledged", o.number, f.number)
		}
		w.maybeLate(p, since, said.generation+1) // time may have passed on the way
		w.heard(o, a)
	}
	w.grant(o, f, params, func(r *oauth.TokenResponse) {
		f.kept = max(f.kept, w.now.Load())
		if w.born[text] != w.life {
			w.tally["token of another process was good"]++
		}
		if w.pairs[r.RefreshToken].kid != said.kid {
			w.tally["rotated under a newer key"]++
		}
		if !lose && !p.out && w.pairs[r.RefreshToken].generation > w.pairs[p.refresh].generation {
			p.before = append(p.before, p.refresh)
			p.refresh, p.tried = r.RefreshToken, 0
		}
	})
	return o
}

// bearer shows an access token.
func (w *world) bearer(f *family, text string) *op {
	said := w.pairs[text]
	audience := oauth.AudienceApp
	if f.device {
		audience = oauth.AudienceMarket
	}
	o := w.begin(&op{
		family: f, sent: text, call: call{kind: kindBearer, device: f.device, token: said, gone: int(said.kid) < w.oldest},
		what: fmt.Sprintf("an access token of sign-in %d is shown, of generation %d", f.number, said.generation),
	})
	settled := f.settled
	o.run = func(context.Context) (answer, error) {
		_, err := w.plant.bearer(text, func() (token.Access, error) { return o.life.server.Bearer([]byte(text), audience) })
		switch {
		case err == nil:
			return answer{outcome: done}, nil
		case errors.Is(err, token.ErrExpired):
			return answer{outcome: expired}, nil
		case errors.Is(err, oauth.ErrRevoked):
			return answer{outcome: revoked}, nil
		case errors.Is(err, token.ErrForged):
			return answer{outcome: unread}, nil
		}
		return answer{}, err
	}
	o.finish = func(a answer) {
		if settled && a.outcome == done {
			w.fault("call %d: an access token of sign-in %d is good after its end was acknowledged", o.number, f.number)
		}
	}
	return o
}

// revoke ends one sign-in, as the operator does.
func (w *world) revoke(f *family) *op {
	id := hex.EncodeToString(f.id[:])
	f.tainted = true
	o := w.begin(&op{family: f, call: call{kind: kindRevoke, device: f.device}, what: fmt.Sprintf("the operator ends sign-in %d", f.number)})
	o.run = func(ctx context.Context) (answer, error) {
		ended, err := o.life.server.Revoke(ctx, account, func(s oauth.Session) bool { return s.ID == id })
		return answer{outcome: done, ended: len(ended) == 1}, err
	}
	o.finish = func(a answer) { f.settled = f.settled || a.outcome == done && a.ended }
	return o
}

// signOut ends all.
func (w *world) signOut() *op {
	known := len(w.signIns)
	for _, f := range w.signIns {
		f.tainted = true
	}
	o := w.begin(&op{call: call{kind: kindSignOut}, what: "the account is signed out everywhere"})
	o.run = func(ctx context.Context) (answer, error) {
		_, err := o.life.server.RevokeAccount(ctx, account)
		return answer{outcome: done}, err
	}
	o.finish = func(a answer) {
		w.outSince = o.end
		for i, f := range w.signIns {
			f.tainted = true // also one that was begun meanwhile
			if i < known && a.outcome == done && f.created > 0 {
				f.settled = true
			}
		}
	}
	return o
}

// finishSignOuts is what a process does when it has started.
func (w *world) finishSignOuts() *op {
	o := w.begin(&op{call: call{kind: kindFinish}, what: "what sign-outs that were cut off have left is ended"})
	o.run = func(ctx context.Context) (answer, error) {
		return answer{outcome: done}, w.plant.finishes(o.life.server, func() error {
			_, err := o.life.server.FinishSignOuts(ctx)
			return err
		})
	}
	o.finish = func(answer) {
		// A refresh that was under way meanwhile may have found nothing to look at: then
		// it came before, and so what was cut off happened only now.
		for _, out := range w.everyone {
			if out.call.kind == kindSignOut && out.answer.outcome == unknown {
				out.landed(o.end)
			}
		}
	}
	return o
}
