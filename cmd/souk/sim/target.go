package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
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
