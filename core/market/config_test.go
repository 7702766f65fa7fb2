package market_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/unit"
)

const public = "https://market.example.com"

// document is a configuration as a device reads it.
func document(t *testing.T, c market.Config) map[string]any {
	t.Helper()
	b, err := json.Marshal(c.Configuration(public, c.PollingInterval, 100, map[string]string{"issuer": public}))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Apple, "Installing your app from your website".
func TestConfigurationDocument(t *testing.T) {
	want := map[string]any{
		"restore": public + "/restore",
		"updates": map[string]any{"url": public + "/updates", "pollingInterval": 24.0},
		"license": map[string]any{
			"dynamicLicenseURL": public + "/license", "licenseRenewalURL": public + "/license/renew", "licenseResolutionURL": public + "/license/resolve",
			"signingCertificateURL": public + "/license/certificates/signing", "encryptionCertificateURL": public + "/license/certificates/encryption",
		},
	}
	if got := document(t, market.DefaultConfig()); !reflect.DeepEqual(got, want) {
		t.Errorf("the default configuration is %v, want %v", got, want)
	}
}

// A device takes an override instead of everything else.
func TestOverridesAreWhole(t *testing.T) {
	c := market.DefaultConfig()
	c.Restore, c.PollingInterval, c.AnnounceOAuth = "https://api.example.com/restore", 48, true
	c.Overrides = map[string]market.Discovery{
		"1":           {},
		"10737747186": {Restore: "https://other.example.com/restore", PollingInterval: 72, AnnounceRestores: true},
	}
	doc := document(t, c)
	overrides := doc["overridesByAppleItemID"].(map[string]any)
	delete(doc, "overridesByAppleItemID")
	if !reflect.DeepEqual(overrides["1"], any(doc)) {
		t.Errorf("an empty override is %v, want %v", overrides["1"], doc)
	}
	doc["restore"] = "https://other.example.com/restore"
	doc["restores"] = map[string]any{"url": "https://other.example.com/restore", "batchSize": 100.0}
	doc["updates"].(map[string]any)["pollingInterval"] = 72.0
	if !reflect.DeepEqual(overrides["10737747186"], any(doc)) {
		t.Errorf("the override is %v, want %v", overrides["10737747186"], doc)
	}
}

// TestConfigNamesTheKey has the mistakes that people make.
func TestConfigNamesTheKey(t *testing.T) {
	good := market.DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	for name, change := range map[string]func(*market.Config){
		"market.item_id":         func(c *market.Config) { c.ItemID = "com.example.market" },
		"market.name":            func(c *market.Config) { c.Name = "" },
		"market.install_life":    func(c *market.Config) { c.InstallLife = unit.Duration(time.Second) },
		"market.token_header":    func(c *market.Config) { c.TokenHeader = "authorization" },
		"market.entitle_default": func(c *market.Config) { c.EntitleDefault = "maybe" },
		// A day has 24 hours and not 86400.
		"market.polling_interval":               func(c *market.Config) { c.PollingInterval = 86400 },
		"market.restore":                        func(c *market.Config) { c.Restore = "/restore" },
		"market.updates":                        func(c *market.Config) { c.Updates = "ftp://example.com/updates" },
		"market.license_resolution":             func(c *market.Config) { c.LicenseResolution = "example.com" },
		`market.overrides."notes"`:              func(c *market.Config) { c.Overrides = map[string]market.Discovery{"notes": {}} },
		`market.overrides."7".polling_interval`: func(c *market.Config) { c.Overrides = map[string]market.Discovery{"7": {PollingInterval: 1}} },
		`market.overrides."7".restore`:          func(c *market.Config) { c.Overrides = map[string]market.Discovery{"7": {Restore: "x"}} },
	} {
		c := market.DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), name+":") {
			t.Errorf("Validate = %v, want an error about %s", err, name)
		}
	}
}
