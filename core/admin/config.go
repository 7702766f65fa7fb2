package admin

import (
	"fmt"
	"net"
	"strconv"
)

// Config is the section [admin].
type Config struct {
	// Listen is the address of the admin listener. It speaks plain HTTP: keep it on
	// this machine, or put a proxy with TLS in front of it. The proxy has to send
	// "Host: localhost": a name that is not the listener's own is refused.
	Listen string `toml:"listen"`
	// TokenFile holds the token that opens the API. Empty = admin.token in the data
	// directory, made at the first start and readable by its owner alone.
	TokenFile string `toml:"token_file"`
}

// DefaultConfig returns the defaults of [admin].
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:8081"} }

// Validate names the first key of [admin] with an impossible value.
func (c *Config) Validate() error {
	_, port, err := net.SplitHostPort(c.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("admin.listen: %q is no address: write host:port, like \"127.0.0.1:8081\"", c.Listen)
	}
	return nil
}
