package sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/core/catalog"
)

// operator works the market over the admin API, like anybody who runs one.
type operator struct {
	http  *http.Client
	base  string
	token string
}

func newOperator(base, token string) *operator {
	return &operator{&http.Client{Timeout: 5 * time.Minute}, strings.TrimSuffix(base, "/"), strings.TrimSpace(token)}
}

// send asks the admin API; answer may be nil.
func (o *operator) send(ctx context.Context, method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	reply, err := o.raw(ctx, method, path, jsonType, text)
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(reply, answer)
}

func (o *operator) raw(ctx context.Context, method, path, mediaType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, o.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+o.token)
	req.Header.Set("Content-Type", mediaType)
	res, err := o.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, fmt.Errorf("%s %s answered %d: %s", method, path, res.StatusCode, bytes.TrimSpace(reply))
	}
	return reply, nil
}

// importApps writes a catalogue.
func (o *operator) importApps(ctx context.Context, items []catalog.Item) error {
	return o.send(ctx, http.MethodPost, "/api/import", map[string]any{"items": items}, nil)
}

// apps reads the catalogue.
func (o *operator) apps(ctx context.Context) (all []catalog.Item, err error) {
	for after := ""; ; {
		var page struct {
			Apps []catalog.Item `json:"apps"`
			Next string         `json:"next"`
		}
		if err := o.send(ctx, http.MethodGet, "/api/apps?limit=1000&after="+after, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Apps...)
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

func (o *operator) putApp(ctx context.Context, it catalog.Item) error {
	return o.send(ctx, http.MethodPut, "/api/apps/"+digits(it.ID), it, nil)
}

func (o *operator) rollout(ctx context.Context, item, version uint64, share int) error {
	return o.send(ctx, http.MethodPut, rolloutPath(item, version), map[string]int{"share": share}, nil)
}

func (o *operator) halt(ctx context.Context, item, version uint64) error {
	return o.send(ctx, http.MethodPut, rolloutPath(item, version), map[string]bool{"halted": true}, nil)
}

func rolloutPath(item, version uint64) string {
	return "/api/apps/" + digits(item) + "/versions/" + digits(version) + "/rollout"
}

func (o *operator) takedown(ctx context.Context, item uint64, reason string) error {
	return o.send(ctx, http.MethodPut, "/api/apps/"+digits(item)+"/takedown", map[string]string{"reason": reason}, nil)
}

func (o *operator) reload(ctx context.Context) error {
	return o.send(ctx, http.MethodPost, "/api/plugins/reload", nil, nil)
}

func (o *operator) putModule(ctx context.Context, plugin string, wasm []byte) error {
	_, err := o.raw(ctx, http.MethodPut, "/api/plugins/"+plugin+"/module", "application/wasm", wasm)
	return err
}

// link is the token of an install link for a person.
func (o *operator) link(ctx context.Context, account string) (string, error) {
	var a struct {
		Token string `json:"token"`
	}
	err := o.send(ctx, http.MethodPost, "/api/accounts/"+url.PathEscape(account)+"/subject-token", nil, &a)
	return a.Token, err
}

// counters are what the server itself has counted.
type counters struct {
	guestCalls, signatures float64
	spared                 float64       // offers that were left out of an answer under pressure
	rushed                 float64       // questions that a plugin had no time for
	empty, unavailable     float64       // requests that were turned away, by what they were told
	cpu                    time.Duration // by the kernel's account of the process; 0 = not known
}

func (o *operator) counters(ctx context.Context) (counters, error) {
	text, err := o.raw(ctx, http.MethodGet, "/metrics", jsonType, nil)
	if err != nil {
		return counters{}, err
	}
	return parseCounters(text)
}

// parseCounters adds up the series in Prometheus' text format, of which no line has a
// time.
func parseCounters(text []byte) (c counters, err error) {
	in, signs := bufio.NewScanner(bytes.NewReader(text)), false
	for in.Scan() {
		line := in.Text()
		name := line[:max(0, strings.IndexAny(line, "{ "))]
		var into *float64
		var seconds float64
		switch name {
		case "souk_plugin_calls_total":
			into = &c.guestCalls
		case "souk_install_tokens_signed_total":
			into, signs = &c.signatures, true
		case "souk_offers_spared_total":
			into = &c.spared
		case "souk_shed_total":
			if into = &c.unavailable; strings.Contains(line, `kind="empty"`) {
				into = &c.empty
			}
		case "souk_plugin_failures_total":
			if !strings.Contains(line, `kind="deadline"`) && !strings.Contains(line, `kind="busy"`) && !strings.Contains(line, `kind="breaker open"`) {
				continue
			}
			into = &c.rushed
		case "process_cpu_seconds_total":
			into = &seconds
		default:
			continue
		}
		n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return c, fmt.Errorf("GET /metrics: %s: %w", name, err)
		}
		*into += n
		c.cpu += time.Duration(seconds * float64(time.Second))
	}
	if err := in.Err(); err != nil {
		return c, fmt.Errorf("GET /metrics: %w", err)
	}
	if !signs {
		return c, errors.New("GET /metrics: there is no souk_install_tokens_signed_total: is it the admin listener of a market?")
	}
	return c, nil
}

// withheld is how many offers were left out, by what the server says, at most: of a
// request that is turned away nobody knows whether one was due.
func (c counters) withheld() float64 { return c.spared + c.rushed + c.empty }

// shed is how many requests were turned away or answered with less than was due; one
// without two offers counts twice.
func (c counters) shed() uint64 { return uint64(c.spared + c.empty + c.unavailable) }
