package sim

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/souk-market/souk/core/oauth"
)

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
