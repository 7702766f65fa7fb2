package server

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
)

// appsRequest is the body that restore, update check and install token share, as
// encoding/json reads it.
type appsRequest struct {
	Apps []struct {
		Item    id `json:"appleItemId"`
		Version id `json:"appleVersionId"`
	} `json:"apps"`
	Platform  *string `json:"platform"`
	OSVersion *string `json:"osVersion"`
}

// id is an id as text; a JSON number is taken as its digits.
type id string

func (i *id) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '"' {
		var n json.Number
		if err := json.Unmarshal(b, &n); err != nil {
			return err
		}
		*i = id(n)
		return nil
	}
	return json.Unmarshal(b, (*string)(i))
}

// maxID is more than any id has; a longer one is a mistake or an attack.
const maxID = 40

// parseApps reads a body. The known shape takes the scanner; anything else is
// left to encoding/json, which has the last word on what is JSON. The texts in q
// may alias body.
//
// hot: called for every update check.
func parseApps(body []byte, limit int, q *market.Request) error {
	q.Apps = q.Apps[:0]
	platform, os, ok := scanApps(body, limit, q)
	if !ok {
		q.Apps = q.Apps[:0]
		var err error
		if platform, os, err = decodeApps(body, limit, q); err != nil {
			return err
		}
	}
	q.Platform, _ = catalog.ParsePlatform(platform) // another platform: nothing fits
	if q.OS, ok = catalog.ParseOS(os); !ok {
		return badRequest("osVersion is no version: it is written like \"17.4\"")
	}
	return nil
}

func decodeApps(body []byte, limit int, q *market.Request) (platform, os string, err error) {
	var r appsRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return "", "", &problem{status: 400, sentence: "the body is not the JSON object that belongs here", cause: err}
	}
	switch {
	case r.Apps == nil:
		return "", "", badRequest("apps is missing: it is a list of {appleItemId, appleVersionId}")
	case len(r.Apps) > limit:
		return "", "", badRequest(fmt.Sprintf("apps names %d apps: at most %d are taken in one request", len(r.Apps), limit))
	case r.Platform == nil:
		return "", "", badRequest("platform is missing")
	case r.OSVersion == nil:
		return "", "", badRequest("osVersion is missing")
	}
	for i, a := range r.Apps {
		if a.Item == "" || len(a.Item) > maxID || len(a.Version) > maxID {
			return "", "", badRequest(fmt.Sprintf("apps[%d]: appleItemId is missing, or an id is longer than %d characters", i, maxID))
		}
		q.Apps = append(q.Apps, newApp(string(a.Item), string(a.Version)))
	}
	return *r.Platform, *r.OSVersion, nil
}

func newApp(item, version string) market.App {
	return market.App{Item: number(item), Version: number(version), ItemText: item, VersionText: version}
}

// number reads an id; a text that is none is 0, which no app and no version has.
func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func badRequest(sentence string) *problem { return &problem{status: 400, sentence: sentence} }
