package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/oauth"
)

// meet makes the acquaintance of a server that the operator runs: its catalogue, and
// where it listens. Nothing of it is changed, but that people sign in.
func (r *run) meet(ctx context.Context) error {
	u, err := url.Parse(r.c.Target)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" {
		return fmt.Errorf("--target: %q is not scheme and host alone: write it like \"https://market.example.com\"", r.c.Target)
	}
	r.host = u.Host
	switch u.Scheme {
	case "https":
		r.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
		if u.Port() == "" {
			r.host = net.JoinHostPort(u.Hostname(), "443")
		}
	case "http":
		if u.Port() == "" {
			r.host = net.JoinHostPort(u.Hostname(), "80")
		}
		if r.c.TLS {
			return errors.New("--tls: the target's URL says http: write https")
		}
	default:
		return fmt.Errorf("--target: %q is no URL of http or https", r.c.Target)
	}
	secret, err := os.ReadFile(r.c.TokenFile)
	if err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	r.op = newOperator(r.c.Admin, string(secret))
	if r.items, err = r.op.apps(ctx); err != nil {
		return fmt.Errorf("--admin: read the catalogue: %w", err)
	}
	if len(r.items) == 0 {
		return errors.New("--target: its catalogue is empty, so there is nothing to ask for")
	}
	r.apps = populationApps(r.items)
	r.truth = newTruth(r.items)
	r.people, err = population.New(r.config, r.apps)
	return err
}

// populationApps are the apps of a catalogue, with the versions that devices can have.
func populationApps(items []catalog.Item) (apps []population.App) {
	for _, it := range items {
		a := population.App{Item: it.ID, BundleID: it.BundleID, Name: it.Name}
		for i := len(it.Versions) - 1; i >= 0; i-- { // the newest is the first
			v := &it.Versions[i]
			if min, ok := catalog.ParseOS(v.MinOS["ios"]); ok && !v.Withdrawn {
				a.Versions = append(a.Versions, population.Version{ID: v.ID, Short: v.Short, MinOS: min, Released: v.Released})
			}
		}
		if len(a.Versions) > 0 {
			apps = append(apps, a)
		}
	}
	return apps
}

// enter signs a device in with the token of an install link, as the operator's website
// gives it to somebody who is signed in there.
func (w *worker) enter(due time.Duration) bool {
	for {
		asked := w.r.clock.since()
		ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
		subject, err := w.r.op.link(ctx, w.device.Account)
		cancel()
		w.waited(due, asked)
		if err != nil {
			w.r.checks.answered.hold(false, func() string { return fmt.Sprintf("device %d: no token for its install link: %v", w.device.Index, err) })
			return false
		}
		status, ok := w.signIn(w.free, subject)
		// At a high speed the minutes of a link are over in no time: then its person opens
		// another.
		if late := w.r.clock.simulated(w.r.clock.since()-asked) >= oauth.SubjectTokenLife-time.Minute; ok && status == 400 && late {
			continue
		}
		if ok {
			w.r.checks.codes.hold(status == 200, w.unexpected(status, 200))
		}
		return ok && status == 200
	}
}

// signIn exchanges the token of an install link for the device's own (RFC 8693).
func (w *worker) signIn(due time.Duration, subject string) (status int, ok bool) {
	w.body = append(w.body[:0], "grant_type="+url.QueryEscape(oauth.GrantTokenExchange)+"&subject_token="+url.QueryEscape(subject)+
		"&subject_token_type="+url.QueryEscape(oauth.TypeAccessToken)+"&client_id="...)
	w.body = append(w.body, w.device.ClientID...)
	w.out = appendPost(w.out[:0], w.r.host, pathToken, formType, nil, w.body)
	rp, ok := w.exchange(due, func(status int) string {
		if status == 200 {
			return classSignIn
		}
		return w.refused(status)
	})
	if !ok || rp.status != 200 {
		return rp.status, ok
	}
	t, err := readTokens(w.response.Body())
	w.r.checks.codes.hold(err == nil, func() string { return fmt.Sprintf("device %d signed in: %v", w.device.Index, err) })
	w.token, w.expires = append(w.token[:0], t.Access...), w.r.clock.Now().Add(accessLife)
	return rp.status, err == nil
}
