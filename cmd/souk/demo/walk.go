package demo

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/sdk/abi"
)

// walk is the tour through the market. A step that does not hold is printed and
// the rest of its journey left out; the next journey begins all the same.
type walk struct {
	host     *core.Host
	operator *operator
	http     *http.Client
	clock    *clock
	print    *printer
	dir      string
	phone    *device // alice's, all the way
	steps    int
	failed   int
}

func newWalk(h *core.Host, roots *x509.CertPool, dir string, clock *clock, p *printer) *walk {
	// Devices keep no cookies; connections are kept, as a proxy in front would.
	transport := &http.Transport{MaxIdleConnsPerHost: 16, TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &walk{host: h, clock: clock, print: p, dir: dir, http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// run walks all journeys; held says whether every step did.
func (w *walk) run(ctx context.Context) (held bool, err error) {
	began := now()
	if w.operator, err = newOperator(w.host.AdminURL(), w.dir, w.print.called); err != nil {
		return false, err
	}
	if err := w.furnish(ctx); err != nil {
		return false, fmt.Errorf("furnish the demo market: %w", err)
	}
	for i, j := range []struct {
		title string
		walk  func(context.Context) error
	}{
		{"A device discovers the market, and installs an app from the website", w.install},
		{"A new iPhone is restored from a backup", w.backup},
		{"The daily update check: nothing new, then a release that is rolled out", w.release},
		{"A subscription turns a refusal into an app", w.subscription},
		{"An app is taken down", w.takedown},
	} {
		w.print.journey(i+1, j.title)
		_ = j.walk(ctx) // printed, and counted in failed
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	w.print.summary(w.steps, w.failed, now().Sub(began))
	return w.failed == 0, nil
}

// furnish puts apps and people into the market, as an operator would.
func (w *walk) furnish(ctx context.Context) error {
	var errs []error
	for _, p := range people {
		errs = append(errs, w.operator.addPerson(ctx, p.email, p.name, p.password))
	}
	for _, it := range apps() {
		errs = append(errs, w.operator.putApp(ctx, it, ""))
	}
	return errors.Join(errs...)
}

// step does one thing and says whether it held.
func (w *walk) step(text string, f func() error) error {
	w.steps++
	began := now()
	err := f()
	if err != nil {
		w.failed++
	}
	w.print.step(text, now().Sub(began), err)
	return err
}

func (w *walk) newDevice(account, password string) *device {
	return &device{http: w.http, base: w.host.PublicURL(), account: account, password: password, id: newUUID(), report: w.print.called}
}

// install is the seed's first journey: the link on an app's page carries a token,
// which the device exchanges for its own.
func (w *walk) install(ctx context.Context) error {
	w.phone = w.newDevice(people[0].email, people[0].password)
	d := w.phone
	if err := w.step("both documents are there, with all that a device needs", func() error {
		_, _, err := d.discover(ctx)
		return err
	}); err != nil {
		return err
	}
	var link url.Values
	if err := w.step("alice signs in on the app's page, whose button then has a link for her", func() (err error) {
		if link, err = d.installLink(ctx, notesItem); err != nil {
			return err
		}
		if got := link.Get("account"); got != d.account {
			return fmt.Errorf("the link is for %q", got)
		}
		given := offer{app: app{notesItem, "2000021"}, Package: link.Get("alternativeDistributionPackage"), Token: link.Get("installVerificationToken")}
		return w.gets([]offer{given}, nil, given.app)
	}); err != nil {
		return err
	}
	if err := w.step("the token of the link is exchanged for the device's own", func() error {
		return d.exchange(ctx, link.Get("token"))
	}); err != nil {
		return err
	}
	return w.step("the app is given, with a token that Apple can verify", func() error {
		a, err := d.restore(ctx, deviceOS, app{notesItem, "2000021"})
		if err != nil {
			return err
		}
		return w.gets(a.Restores, a.Failures, app{notesItem, "2000021"})
	})
}

// backup restores the marketplace app, which the system signs in for, and then
// its apps, which the marketplace app asks for itself.
func (w *walk) backup(ctx context.Context) error {
	phone := w.newDevice(people[0].email, people[0].password)
	if err := w.step("the marketplace app: 401 without a token, sign-in, and the retry gets it", func() error {
		a, err := phone.restore(ctx, deviceOS, app{marketItem, "2000011"})
		if err != nil {
			return err
		}
		return w.gets(a.Restores, a.Failures, app{marketItem, "2000011"})
	}); err != nil {
		return err
	}
	market := w.newDevice(people[0].email, people[0].password)
	market.id, market.registered, market.header = marketClient, marketRedirect, tokenHeader
	if err := w.step("the marketplace app signs in, and its apps come back through its own header", func() error {
		_, m, err := market.discover(ctx)
		if err != nil {
			return err
		}
		if err := market.signIn(ctx, m); err != nil {
			return err
		}
		a, err := market.restore(ctx, deviceOS, app{notesItem, "2000021"}, app{skyItem, "2000041"})
		if err != nil {
			return err
		}
		return w.gets(a.Restores, a.Failures, app{notesItem, "2000021"}, app{skyItem, "2000041"})
	}); err != nil {
		return err
	}
	return w.step("three days later: 403 for the old token, refresh, and one retry", func() error {
		w.clock.advance(73 * time.Hour)
		before := market.tokens
		a, err := market.restore(ctx, deviceOS, app{notesItem, "2000021"})
		if err != nil {
			return err
		}
		if market.tokens.Access == before.Access || market.tokens.Refresh == before.Refresh {
			return errors.New("the tokens are the same as before")
		}
		return w.gets(a.Restores, a.Failures, app{notesItem, "2000021"})
	})
}

// fleet is how many devices follow the release.
const fleet = 100

// release publishes a version and opens it step by step.
func (w *walk) release(ctx context.Context) error {
	installed, next := app{notesItem, "2000021"}, app{notesItem, "2000022"}
	if err := w.step("nothing new: an empty list", func() error {
		a, err := w.phone.updates(ctx, deviceOS, installed, app{skyItem, "2000041"})
		if err != nil {
			return err
		}
		return w.gets(a.Updates, a.Failures)
	}); err != nil {
		return err
	}
	devices := make([]*device, fleet)
	if err := w.step(fmt.Sprintf("%d more devices install the app from the website", fleet), func() error {
		for i := range devices {
			d := w.newDevice(fmt.Sprintf("person-%03d@example.com", i), "")
			d.report = nil
			subject, err := w.operator.link(ctx, d.account, "")
			if err != nil {
				return err
			}
			if err := d.exchange(ctx, subject); err != nil {
				return err
			}
			devices[i] = d
		}
		return nil
	}); err != nil {
		return err
	}
	it := apps()[1]
	it.Versions = append(it.Versions, version(2000022, "3.2"))
	it.Versions[1].Rollout.Share = 1000
	salt := notesItem + "/" + next.Version
	inRollout := func(d *device) bool { return abi.Bucket(d.account, salt) < 1000 }
	expected := 0
	for _, d := range devices {
		if inRollout(d) {
			expected++
		}
	}
	if err := w.operator.putApp(ctx, it, "Field Notes 3.2 is released to 10 %"); err != nil {
		return w.step("the release is published", func() error { return err })
	}
	if err := w.step(fmt.Sprintf("at 10 %%: %d of %d devices are offered it, and the same ones again", expected, fleet), func() error {
		for range 2 {
			if err := w.each(ctx, devices, installed, next, inRollout); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := w.operator.rollout(ctx, notesItem, next.Version, 10000); err != nil {
		return w.step("the rollout is opened", func() error { return err })
	}
	return w.step(fmt.Sprintf("at 100 %%: all %d are", fleet), func() error {
		return w.each(ctx, devices, installed, next, func(*device) bool { return true })
	})
}

// each lets all devices ask, and checks who is offered the next version.
func (w *walk) each(ctx context.Context, devices []*device, installed, next app, want func(*device) bool) error {
	for _, d := range devices {
		a, err := d.updates(ctx, deviceOS, installed)
		if err != nil {
			return fmt.Errorf("%s: %w", d.account, err)
		}
		var offers []app
		if want(d) {
			offers = []app{next}
		}
		if err := w.gets(a.Updates, a.Failures, offers...); err != nil {
			return fmt.Errorf("%s: %w", d.account, err)
		}
	}
	return nil
}

// subscription shows that entitlement is policy: the same request, before and
// after the billing system has said something.
func (w *walk) subscription(ctx context.Context) error {
	plus := app{plusItem, "2000031"}
	if err := w.step("without a subscription the app is a failure, not a question for a password", func() error {
		a, err := w.phone.restore(ctx, deviceOS, plus)
		if err != nil {
			return err
		}
		return w.gone(a, plus)
	}); err != nil {
		return err
	}
	if err := w.operator.grant(ctx, w.phone.account, plusGrant); err != nil {
		return w.step("the subscription is granted", func() error { return err })
	}
	return w.step("with it, the very next request gets the app", func() error {
		a, err := w.phone.restore(ctx, deviceOS, plus)
		if err != nil {
			return err
		}
		return w.gets(a.Restores, a.Failures, plus)
	})
}

func (w *walk) takedown(ctx context.Context) error {
	notes := app{notesItem, "2000021"}
	if err := w.operator.takedown(ctx, notesItem, "the developer asked for it"); err != nil {
		return w.step("the app is taken down", func() error { return err })
	}
	if err := w.step("it can't be restored any more", func() error {
		a, err := w.phone.restore(ctx, deviceOS, notes)
		if err != nil {
			return err
		}
		return w.gone(a, notes)
	}); err != nil {
		return err
	}
	return w.step("and is no longer offered as an update", func() error {
		a, err := w.phone.updates(ctx, deviceOS, notes)
		if err != nil {
			return err
		}
		return w.gone(a, notes)
	})
}

// gets checks that exactly these apps are given, each with a good token.
func (w *walk) gets(offers []offer, failures []failure, want ...app) error {
	if len(offers) != len(want) || len(failures) > 0 {
		return fmt.Errorf("got %d apps and %d failures, wanted %d apps", len(offers), len(failures), len(want))
	}
	for i, o := range offers {
		if o.app != want[i] {
			return fmt.Errorf("got version %s of app %s, wanted %s of %s", o.Version, o.Item, want[i].Version, want[i].Item)
		}
		if !strings.HasPrefix(o.Package, w.host.PublicURL()+"/packages/") {
			return fmt.Errorf("the package of app %s is at %q", o.Item, o.Package)
		}
		if err := w.verify(o); err != nil {
			return fmt.Errorf("the install verification token of app %s: %w", o.Item, err)
		}
	}
	return nil
}

// gone checks that exactly this app is refused, in the words of the protocol.
func (w *walk) gone(a *answer, want app) error {
	if len(a.Restores)+len(a.Updates) > 0 || len(a.Failures) != 1 {
		return fmt.Errorf("got %d apps and %d failures, wanted one failure", len(a.Restores)+len(a.Updates), len(a.Failures))
	}
	if f := a.Failures[0]; f.app != want || f.Failure.Code != 404 {
		return fmt.Errorf("got failure %d of app %s, wanted 404 of %s", f.Failure.Code, f.Item, want.Item)
	}
	return nil
}

// verify checks an install verification token as Apple's servers do: an ES256
// signature over claims that name the app.
func (w *walk) verify(o offer) error {
	parts := strings.Split(o.Token, ".")
	if len(parts) != 3 {
		return fmt.Errorf("has %d parts", len(parts))
	}
	block, _ := pem.Decode(w.host.InstallKey)
	if block == nil {
		return errors.New("the server's public key is no PEM")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return errors.New("the server's public key is not an ECDSA key")
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(sig) != 64 {
		return errors.New("the signature is not 64 bytes")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return errors.New("the signature is wrong")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Item    string `json:"iid"`
		Version string `json:"vid"`
		Expires int64  `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return err
	}
	if claims.Issuer != marketItem || claims.Item != o.Item || claims.Version != o.Version || claims.Expires <= w.clock.Now().Unix() {
		return fmt.Errorf("has the claims %s", payload)
	}
	return nil
}
