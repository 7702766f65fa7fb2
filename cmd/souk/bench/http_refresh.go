package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/oauth"
)

// refreshStage has sign-ins, each of an account of its own. A connection stands for a
// part of the devices and goes through them in turn. There are so many that each is
// asked for once or twice: most of what a refresh needs has to come from a table, as it
// does when a device is back after a day.
var refreshStage = &stage{
	name: "refresh",
	cases: []httpCase{{
		name: "f", does: "a device refreshes its tokens, durably", least: 0.25,
		connections: 256, clients: refreshClients,
	}},
}

// refresher is a client that refreshes the tokens of its devices in turn, each time
// with the newest.
type refresher struct {
	host   string
	tokens [][]byte
	at     int // the next device
	whole  int // answers that were read as JSON
}

func refreshClients(f *filled, host string, connections int) ([]client, error) {
	if len(f.Devices) < connections {
		return nil, fmt.Errorf("%d devices are not enough for %d connections: --families has to be more", len(f.Devices), connections)
	}
	all := make([]client, connections)
	for i := range all {
		r := &refresher{host: host}
		for j := i; j < len(f.Devices); j += connections {
			r.tokens = append(r.tokens, []byte(f.Devices[j].Refresh))
		}
		all[i] = r
	}
	return all, nil
}

func (r *refresher) next(b []byte) []byte {
	// A device names neither its client nor a scope.
	return appendPost(b, r.host, "/oauth/token", "application/x-www-form-urlencoded", []byte("grant_type=refresh_token&refresh_token="), r.tokens[r.at])
}

// sample is one: the others are as long.
func (r *refresher) sample() [][]byte { return [][]byte{r.next(nil)} }

// wholeEvery is how often an answer is read as JSON. Of the others only the token is
// looked for: the client's work is not to be what is measured.
const wholeEvery = 64

func (r *refresher) take(a *fasthttp.Response) error {
	old := r.tokens[r.at]
	if a.StatusCode() != 200 {
		return fmt.Errorf("a refresh was answered %d: %s", a.StatusCode(), a.Body())
	}
	fresh := textOf(a.Body(), `"refresh_token":"`)
	switch {
	case len(fresh) != len(old) || len(textOf(a.Body(), `"access_token":"`)) == 0:
		return fmt.Errorf("a refresh was answered without two tokens: %s", a.Body())
	case bytes.Equal(fresh, old):
		return errors.New("a refresh was answered with the same refresh token")
	}
	if r.whole++; r.whole%wholeEvery == 1 {
		if err := readWhole(a.Body(), string(fresh)); err != nil {
			return err
		}
	}
	copy(old, fresh)
	r.at = (r.at + 1) % len(r.tokens)
	return nil
}

// readWhole reads an answer as a device does.
func readWhole(body []byte, refresh string) error {
	var t oauth.TokenResponse
	if err := json.Unmarshal(body, &t); err != nil {
		return fmt.Errorf("a refresh was answered with what is no JSON: %w", err)
	}
	if t.RefreshToken != refresh || t.AccessToken == "" || t.TokenType != "Bearer" || t.ExpiresIn <= 0 {
		return fmt.Errorf("a refresh was answered with what is no token response: %s", body)
	}
	return nil
}

// textOf is the text that follows a key in JSON, up to its quote; nil = not there.
func textOf(body []byte, key string) []byte {
	_, rest, ok := bytes.Cut(body, []byte(key))
	if !ok {
		return nil
	}
	text, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok {
		return nil
	}
	return text
}
