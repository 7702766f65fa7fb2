package market

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/core/unit"
)

// Config is the section [market].
type Config struct {
	// Name is what people sign in to.
	Name string `toml:"name"`
	// ItemID is the marketplace's own appleItemId, the issuer of its install
	// verification tokens.
	ItemID string `toml:"item_id"`
	// InstallKey is the PEM file of the key that signs them. Empty = a key of the
	// data directory, made at the first start; register its public half at App
	// Store Connect.
	InstallKey string `toml:"install_key"`
	// InstallKeyID is the id that App Store Connect gave to that key. Empty = made
	// of the key, for trying things out.
	InstallKeyID string `toml:"install_key_id"`
	// InstallLife is how long an install verification token is good.
	InstallLife unit.Duration `toml:"install_life"`
	// TokenHeader is a header in which the marketplace app's extension may send
	// its token instead of in Authorization. Empty = none.
	TokenHeader string `toml:"token_header"`
	// EntitleDefault decides where every plugin abstained: allow, deny, or auto =
	// deny as soon as a plugin answers entitle.
	EntitleDefault string `toml:"entitle_default"`

	Discovery
	// Overrides are configurations of their own for single apps, by appleItemId.
	// What one leaves out it takes from [market].
	Overrides map[string]Discovery `toml:"overrides"`
}

// Discovery are the keys that end up in /.well-known/marketplace-kit. An empty
// URL is this server's own.
type Discovery struct {
	Restore               string `toml:"restore"`
	Updates               string `toml:"updates"`
	PollingInterval       int    `toml:"polling_interval"` // hours
	License               string `toml:"license"`
	SigningCertificate    string `toml:"signing_certificate"`
	EncryptionCertificate string `toml:"encryption_certificate"`
	LicenseRenewal        string `toml:"license_renewal"`
	LicenseResolution     string `toml:"license_resolution"`
	// AnnounceRestores and AnnounceOAuth add the keys "restores" and "oauth", which
	// devices read and no document describes.
	AnnounceRestores bool `toml:"announce_restores"`
	AnnounceOAuth    bool `toml:"announce_oauth"`
}

// The choices of EntitleDefault.
const (
	DefaultAuto  = "auto"
	DefaultAllow = "allow"
	DefaultDeny  = "deny"
)

// DefaultConfig returns the defaults of [market].
func DefaultConfig() Config {
	return Config{
		Name: "Souk", ItemID: "1", InstallLife: unit.Duration(20 * time.Minute),
		EntitleDefault: DefaultAuto, Discovery: Discovery{PollingInterval: 24},
	}
}

// The bounds of polling_interval: a device asks no more than once a day, and a
// number far above a week was surely meant in seconds.
const (
	minPolling = 24
	maxPolling = 720
)

// Validate names the first key of [market] with an impossible value.
func (c *Config) Validate() error {
	if n, err := strconv.ParseUint(c.ItemID, 10, 64); err != nil || strconv.FormatUint(n, 10) != c.ItemID || n == 0 {
		return fmt.Errorf("market.item_id: %q is no appleItemId: write its digits", c.ItemID)
	}
	if c.InstallKey != "" && c.InstallKeyID == "" {
		return fmt.Errorf("market.install_key_id: is empty while market.install_key is set: write the id that App Store Connect gave to the key")
	}
	if len(c.Name) == 0 || len(c.Name) > 100 {
		return fmt.Errorf("market.name: has %d bytes: use 1 to 100, it stands on the sign-in page", len(c.Name))
	}
	if v := c.InstallLife.Std(); v < time.Minute || v > 24*time.Hour {
		return fmt.Errorf("market.install_life: %v is out of range: use 1m to 24h", c.InstallLife)
	}
	if strings.ContainsFunc(c.TokenHeader, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) || strings.EqualFold(c.TokenHeader, "Authorization") {
		return fmt.Errorf("market.token_header: %q is no header of its own: use a name like \"X-Access-Token\"", c.TokenHeader)
	}
	if !slices.Contains([]string{DefaultAuto, DefaultAllow, DefaultDeny}, c.EntitleDefault) {
		return fmt.Errorf("market.entitle_default: %q is no choice: use auto, allow or deny", c.EntitleDefault)
	}
	if err := c.Discovery.validate("market", true); err != nil {
		return err
	}
	for id, o := range c.Overrides {
		at := "market.overrides." + strconv.Quote(id)
		if n, err := strconv.ParseUint(id, 10, 64); err != nil || n == 0 {
			return fmt.Errorf("%s: is no appleItemId: write its digits", at)
		}
		if err := o.validate(at, false); err != nil {
			return err
		}
	}
	return nil
}

func (d *Discovery) validate(at string, whole bool) error {
	if n := d.PollingInterval; whole || n != 0 {
		if err := CheckPolling(n); err != nil {
			return fmt.Errorf("%s.polling_interval: %w", at, err)
		}
	}
	for _, u := range []struct{ key, value string }{
		{"restore", d.Restore}, {"updates", d.Updates}, {"license", d.License},
		{"signing_certificate", d.SigningCertificate}, {"encryption_certificate", d.EncryptionCertificate},
		{"license_renewal", d.LicenseRenewal}, {"license_resolution", d.LicenseResolution},
	} {
		if u.value == "" {
			continue
		}
		if p, err := url.Parse(u.value); err != nil || p.Scheme != "https" && p.Scheme != "http" || p.Host == "" {
			return fmt.Errorf("%s.%s: %q is no absolute URL: write it like \"https://market.example.com/…\"", at, u.key, u.value)
		}
	}
	return nil
}
