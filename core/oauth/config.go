package oauth

import (
	"fmt"
	"time"

	"github.com/souk-market/souk/core/unit"
)

// Config is the section [oauth].
type Config struct {
	// AccountsPlugin is the plugin whose kv keeps the people that `souk account
	// add` writes.
	AccountsPlugin string `toml:"accounts_plugin"`
	// PasswordMin is how many characters the password of a person has at least,
	// when `souk account add` writes it.
	PasswordMin int `toml:"password_min"`
	// SignIn is how long a sign-in page stays good.
	SignIn unit.Duration `toml:"sign_in"`
	// Attempts at a password that one account takes in AttemptsWindow before more
	// are refused without asking the plugin.
	AttemptsAccount int `toml:"attempts_account"`
	// AttemptsAddress is the same for one address (of IPv6 the /64).
	AttemptsAddress int           `toml:"attempts_address"`
	AttemptsWindow  unit.Duration `toml:"attempts_window"`
	// Clients are the registered clients.
	Clients []ClientConfig `toml:"client"`
}

// DefaultConfig returns the defaults of [oauth].
func DefaultConfig() Config {
	return Config{
		AccountsPlugin:  "accounts",
		PasswordMin:     8, // NIST SP 800-63B §3.1.1
		SignIn:          unit.Duration(10 * time.Minute),
		AttemptsAccount: 10,
		AttemptsAddress: 100,
		AttemptsWindow:  unit.Duration(15 * time.Minute),
	}
}

// MaxAccess is the longest life that an access token can be given.
const MaxAccess = 90 * 24 * time.Hour

// Lives are the lifetimes in section [token].
type Lives struct {
	// AccessDevice is an access token's life on a device. A device asks once a
	// day and never looks at the expiry: with 24h every check would begin with an
	// expired token.
	AccessDevice unit.Duration `toml:"access_device"`
	// AccessApp is the same for a registered app.
	AccessApp unit.Duration `toml:"access_app"`
	// RefreshIdle ends a sign-in that was not refreshed for so long.
	RefreshIdle unit.Duration `toml:"refresh_idle"`
	// RefreshAbsolute ends a sign-in after so long; 0 = never.
	RefreshAbsolute unit.Duration `toml:"refresh_absolute"`
	// Grace is how long a refresh may be repeated by everyone.
	Grace unit.Duration `toml:"grace"`
	// Code is the life of an authorization code.
	Code unit.Duration `toml:"code"`
}

// DefaultLives returns the default lifetimes.
func DefaultLives() Lives {
	return Lives{
		AccessDevice: unit.Duration(72 * time.Hour),
		AccessApp:    unit.Duration(time.Hour),
		RefreshIdle:  unit.Duration(180 * 24 * time.Hour),
		Grace:        unit.Duration(time.Minute),
		Code:         unit.Duration(5 * time.Minute),
	}
}

// Validate names the first key of [oauth] with an impossible value.
func (c *Config) Validate() error {
	switch {
	case c.AccountsPlugin == "":
		return fmt.Errorf("oauth.accounts_plugin: is empty: name the plugin that keeps the people, like \"accounts\"")
	case c.PasswordMin < 1 || c.PasswordMin > 64:
		return fmt.Errorf("oauth.password_min: %d is out of range: use 1 to 64", c.PasswordMin)
	case c.SignIn.Std() < time.Minute || c.SignIn.Std() > 10*time.Minute:
		return fmt.Errorf("oauth.sign_in: %v is out of range: use 1m to 10m", c.SignIn)
	case c.AttemptsAccount < 1 || c.AttemptsAccount > 10_000:
		return fmt.Errorf("oauth.attempts_account: %d is out of range: use 1 to 10000", c.AttemptsAccount)
	case c.AttemptsAddress < 1 || c.AttemptsAddress > 1_000_000:
		return fmt.Errorf("oauth.attempts_address: %d is out of range: use 1 to 1000000", c.AttemptsAddress)
	case c.AttemptsWindow.Std() < time.Minute || c.AttemptsWindow.Std() > 24*time.Hour:
		return fmt.Errorf("oauth.attempts_window: %v is out of range: use 1m to 24h", c.AttemptsWindow)
	}
	return checkConfigs(c.Clients)
}

// Validate names the first lifetime of [token] with an impossible value.
func (l *Lives) Validate() error {
	const year = 366 * 24 * time.Hour
	for _, r := range []struct {
		key      string
		value    unit.Duration
		min, max time.Duration
	}{
		{"access_device", l.AccessDevice, time.Minute, MaxAccess},
		{"access_app", l.AccessApp, time.Minute, MaxAccess},
		{"refresh_idle", l.RefreshIdle, time.Hour, 10 * year},
		{"refresh_absolute", l.RefreshAbsolute, 0, 10 * year},
		{"grace", l.Grace, 0, time.Hour},
		{"code", l.Code, 10 * time.Second, 10 * time.Minute},
	} {
		if v := r.value.Std(); v < r.min || v > r.max {
			return fmt.Errorf("token.%s: %v is out of range: use %v to %v", r.key, r.value, unit.Duration(r.min), unit.Duration(r.max))
		}
	}
	if a := l.RefreshAbsolute; a != 0 && (a < l.AccessDevice || a < l.AccessApp || a < l.Code) {
		return fmt.Errorf("token.refresh_absolute: %v is shorter than an access token's life, or a code's: a spent code would be forgotten too early", a)
	}
	if l.AccessDevice > l.RefreshIdle || l.AccessApp > l.RefreshIdle {
		return fmt.Errorf("token.refresh_idle: %v is shorter than an access token's life: a sign-in would end before its token", l.RefreshIdle)
	}
	return nil
}
