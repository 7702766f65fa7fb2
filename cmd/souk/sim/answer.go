package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// answer is what a device is told about its apps. The texts are the body's.
type answer struct {
	offers   []offer
	failures []uint64 // items
}

// offer is an app as a device is given it.
type offer struct {
	item, version uint64
	token         []byte // install verification token
	pack          []byte // URL of the package
	build, short  []byte // nil in a restore
}

// parse reads the body of an answer. What the server usually writes is read quickly;
// all else by encoding/json, which has the last word.
//
// hot: called for each answer; no allocation for one of the usual form.
func (a *answer) parse(body []byte, list string) error {
	a.offers, a.failures = a.offers[:0], a.failures[:0]
	if a.scan(body, list) {
		return nil
	}
	return a.decode(body, list)
}

func (a *answer) scan(body []byte, list string) bool {
	c := cursor{rest: body, ok: true}
	c.take(`{"`)
	c.take(list)
	c.take(`":[`)
	for c.ok && !c.has(`]`) {
		if len(a.offers) > 0 {
			c.take(`,`)
		}
		var o offer
		c.take(`{"appleItemId":`)
		o.item = c.id()
		c.take(`,"appleVersionId":`)
		o.version = c.id()
		c.take(`,"alternativeDistributionPackage":`)
		o.pack = c.text()
		if c.has(`,"bundleVersion":`) {
			o.build = c.text()
			c.take(`,"shortVersionString":`)
			o.short = c.text()
		} else if list == listUpdates {
			return false // it has to be there: encoding/json will say so
		}
		c.take(`,"installVerificationToken":`)
		o.token = c.text()
		if c.has(`,"appShareURL":`) {
			c.text()
		}
		c.take(`}`)
		a.offers = append(a.offers, o)
	}
	if c.has(`,"failures":[`) {
		for c.ok && !c.has(`]`) {
			if len(a.failures) > 0 {
				c.take(`,`)
			}
			c.take(`{"appleItemId":`)
			a.failures = append(a.failures, c.id())
			c.take(`,"appleVersionId":`)
			c.text()
			c.take(`,"failure":{"code":404,"description":`)
			c.text()
			c.take(`}}`)
		}
	}
	c.take(`}`)
	return c.ok && len(c.rest) == 0
}

// cursor walks through JSON without blanks.
type cursor struct {
	rest []byte
	ok   bool
}

func (c *cursor) has(s string) bool {
	if !c.ok || len(c.rest) < len(s) || string(c.rest[:len(s)]) != s {
		return false
	}
	c.rest = c.rest[len(s):]
	return true
}

func (c *cursor) take(s string) { c.ok = c.has(s) }

// text is a string of printable ASCII without escapes: its bytes are what it says.
func (c *cursor) text() []byte {
	c.take(`"`)
	for i, b := range c.rest {
		if b == '"' && c.ok {
			t := c.rest[:i]
			c.rest = c.rest[i+1:]
			return t
		}
		if b < ' ' || b > '~' || b == '\\' {
			break
		}
	}
	c.ok = false
	return nil
}

// id is a string of digits.
func (c *cursor) id() uint64 {
	t := c.text()
	n := uint64(0)
	if len(t) == 0 || len(t) > 19 {
		c.ok = false
	}
	for _, d := range t {
		if d < '0' || d > '9' {
			c.ok = false
			return 0
		}
		n = n*10 + uint64(d-'0')
	}
	return n
}

// given is an element of an answer as a device decodes it: without one of the
// pointers it takes nothing.
type given struct {
	Item    *string `json:"appleItemId"`
	Version *string `json:"appleVersionId"`
	Package *string `json:"alternativeDistributionPackage"`
	Token   *string `json:"installVerificationToken"`
	Bundle  *string `json:"bundleVersion"`
	Short   *string `json:"shortVersionString"`
	Failure *struct {
		Code *int `json:"code"`
	} `json:"failure"`
}

func (a *answer) decode(body []byte, list string) error {
	a.offers, a.failures = a.offers[:0], a.failures[:0]
	var whole map[string][]given
	if err := json.Unmarshal(body, &whole); err != nil {
		return fmt.Errorf("the answer can't be read: %w", err)
	}
	offers, ok := whole[list]
	if !ok || offers == nil {
		return fmt.Errorf("the answer has no list %s", list)
	}
	for _, g := range offers {
		if g.Item == nil || g.Version == nil || g.Package == nil || g.Token == nil || list == listUpdates && (g.Bundle == nil || g.Short == nil) {
			return errors.New("an app of the answer lacks a key that a device needs")
		}
		item, err := strconv.ParseUint(*g.Item, 10, 64)
		if err != nil {
			return err
		}
		version, err := strconv.ParseUint(*g.Version, 10, 64)
		if err != nil {
			return err
		}
		o := offer{item: item, version: version, token: []byte(*g.Token), pack: []byte(*g.Package)}
		if g.Bundle != nil && g.Short != nil {
			o.build, o.short = []byte(*g.Bundle), []byte(*g.Short)
		}
		a.offers = append(a.offers, o)
	}
	for _, g := range whole["failures"] {
		if g.Item == nil || g.Version == nil || g.Failure == nil || g.Failure.Code == nil || *g.Failure.Code != 404 {
			return errors.New("a failure of the answer is not the 404 of an app")
		}
		item, err := strconv.ParseUint(*g.Item, 10, 64)
		if err != nil {
			return err
		}
		a.failures = append(a.failures, item)
	}
	return nil
}

// The lists of answers.
const (
	listUpdates  = "updates"
	listRestores = "restores"
)

func digits(n uint64) string { return strconv.FormatUint(n, 10) }
