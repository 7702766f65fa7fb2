package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/souk-market/souk/core/catalog"
)

// operator works the market over the admin API, like anybody who runs one.
type operator struct {
	base, token string
	report      func(call)
}

func newOperator(base, dir string, report func(call)) (*operator, error) {
	t, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	return &operator{base, strings.TrimSpace(string(t)), report}, err
}

// send asks the admin API; answer may be nil. A note is shown in the report,
// nothing is shown without one.
func (o *operator) send(ctx context.Context, method, path string, body, answer any, note string) error {
	var text []byte
	var err error
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, o.base+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+o.token)
	req.Header.Set("Content-Type", "application/json")
	began := now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if note != "" {
		o.report(call{Method: method, Path: path, Status: res.StatusCode, Took: now().Sub(began), Note: note})
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("%s %s answered %d: %s", method, path, res.StatusCode, reply)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(reply, answer)
}

func (o *operator) addPerson(ctx context.Context, email, name, password string) error {
	return o.send(ctx, http.MethodPut, "/api/people/"+url.PathEscape(email), map[string]string{"name": name, "password": password}, nil, "")
}

func (o *operator) putApp(ctx context.Context, it catalog.Item, note string) error {
	return o.send(ctx, http.MethodPut, fmt.Sprintf("/api/apps/%d", it.ID), it, nil, note)
}

func (o *operator) rollout(ctx context.Context, item, version string, share int) error {
	return o.send(ctx, http.MethodPut, "/api/apps/"+item+"/versions/"+version+"/rollout", map[string]int{"share": share}, nil,
		fmt.Sprintf("rollout to %d %%", share/100))
}

func (o *operator) takedown(ctx context.Context, item, reason string) error {
	return o.send(ctx, http.MethodPut, "/api/apps/"+item+"/takedown", map[string]string{"reason": reason}, nil, reason)
}

func (o *operator) grant(ctx context.Context, account string, grants ...string) error {
	return o.send(ctx, http.MethodPut, "/api/accounts/"+url.PathEscape(account)+"/grants", map[string]any{"add": grants}, nil,
		account+" subscribes: "+strings.Join(grants, " "))
}

// link is the token of an install link: what a website of the operator asks for
// when a visitor who is signed in there opens an app's page.
func (o *operator) link(ctx context.Context, account, note string) (string, error) {
	var a struct {
		Token string `json:"token"`
	}
	err := o.send(ctx, http.MethodPost, "/api/accounts/"+url.PathEscape(account)+"/subject-token", nil, &a, note)
	return a.Token, err
}
