package admin

import (
	"context"
	"errors"
	"strings"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
)

// maxExplained is how many apps one request may ask about: an answer has all
// versions of each.
const maxExplained = 100

// explainApp is an app that is asked about. Installed is what the device has, or on
// a restore asks for.
type explainApp struct {
	Item      string `json:"item"`
	Installed string `json:"installed"`
}

// explain answers POST /api/explain: what a device would get now, and why. It
// changes nothing.
func (s *Server) explain(ctx context.Context, r *request) error {
	var body struct {
		Account   string       `json:"account"`
		Client    string       `json:"client"`
		Purpose   string       `json:"purpose"`
		Platform  string       `json:"platform"`
		OS        string       `json:"os"`
		Territory string       `json:"territory"`
		Apps      []explainApp `json:"apps"`
	}
	body.Purpose, body.Platform = "update", "ios"
	if err := r.read(&body); err != nil {
		return err
	}
	y := market.Why{Account: body.Account, Client: body.Client, OS: catalog.AnyOS, Territory: body.Territory}
	var ok bool
	if y.Purpose, ok = market.ParsePurpose(body.Purpose); !ok {
		return problemf(400, "purpose: %.40q is none of update, restore and install-token", body.Purpose)
	}
	if y.Platform, ok = catalog.ParsePlatform(body.Platform); !ok {
		return problemf(400, "platform: %.40q is neither ios nor ipados", body.Platform)
	}
	if body.OS != "" {
		if y.OS, ok = catalog.ParseOS(body.OS); !ok {
			return problemf(400, "os: %.40q is no version: write it like \"18.1\"", body.OS)
		}
	}
	if body.Account != "" {
		if err := checkAccount(body.Account); err != nil {
			return err
		}
	}
	if len(body.Client) > maxClient || strings.ContainsFunc(body.Client, unprintable) {
		return problemf(400, "client: %.40q is no client: write the id, or a device's 32 hexadecimal digits", body.Client)
	}
	if err := checkTerritory(body.Territory); err != nil {
		return err
	}
	var err error
	if y.Apps, err = explainedApps(body.Apps); err != nil {
		return err
	}
	x, err := s.market.Explain(ctx, y)
	if errors.Is(err, market.ErrNoAccount) {
		return problemf(404, "account: nobody has signed in as %.60q yet", body.Account)
	} else if err != nil {
		return err
	}
	return r.write(200, x)
}

const maxClient = 255

func unprintable(c rune) bool { return c <= ' ' || c > '~' }

func explainedApps(apps []explainApp) ([]market.App, error) {
	if n := len(apps); n == 0 || n > maxExplained {
		return nil, problemf(400, "apps: names %d apps: use 1 to %d", n, maxExplained)
	}
	list := make([]market.App, len(apps))
	for i, app := range apps {
		id, ok := catalog.ParseID(app.Item)
		if !ok {
			return nil, problemf(400, "apps[%d].item: %.40q is no id: write its digits", i, app.Item)
		}
		list[i].Item = id
		if app.Installed == "" {
			continue
		}
		if list[i].Version, ok = catalog.ParseID(app.Installed); !ok {
			return nil, problemf(400, "apps[%d].installed: %.40q is no id: write its digits", i, app.Installed)
		}
	}
	return list, nil
}
