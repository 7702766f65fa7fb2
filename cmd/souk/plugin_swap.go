package main

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/souk-market/souk/core/admin"
	"github.com/souk-market/souk/core/plugin"
)

type pluginSwap struct {
	adminFlags
	Name      string `arg:"" help:"The plugin's name."`
	File      string `arg:"" help:"The new module, a .wasm file."`
	Expect    digest `placeholder:"SHA256" help:"Only if this is the module that is live, as list --json shows it: so that nobody undoes what somebody else did meanwhile."`
	Signature string `placeholder:"FILE" help:"Its signature, where plugins.trusted_keys wants one: what \"minisign -S\" wrote. Default: FILE.minisig beside the module, if it is there."`
}

// Help says more than one line does.
func (c *pluginSwap) Help() string {
	return `The new module is loaded, checked and started while the old one answers. Then it
takes over between two requests: each request is answered by one of them alone.
A module that can't be taken changes nothing, and the answer says why. One that
mostly fails in its first minute makes room for the one before it by itself.

It may do what the plugin's entry in the configuration says, and no more.

The server forgets it at a restart or a reload, which load the file that the
configuration names: put the module there too if it is to stay.`
}

// Run swaps a module.
func (c *pluginSwap) Run(std *streams) error {
	wasm, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	signature, err := os.ReadFile(cmp.Or(c.Signature, c.File+plugin.SignatureEnd))
	if err != nil && (c.Signature != "" || !errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("--signature: %w", err)
	}
	err = c.change(std, call{
		method: "PUT", path: path("/api/plugins/%s/module", c.Name), raw: wasm, kind: "application/wasm", expect: string(c.Expect), signed: signature,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	return nil
}

type pluginReturn struct {
	adminFlags
	Name   string `arg:"" help:"The plugin's name."`
	Expect digest `placeholder:"SHA256" help:"Only if this is the module that is live."`
}

// Run returns to the module before.
func (c *pluginReturn) Run(std *streams) error {
	return c.change(std, call{method: "POST", path: path("/api/plugins/%s/return", c.Name), expect: string(c.Expect)})
}

// change sends a request that changes a plugin's module, and prints what it did.
func (f *adminFlags) change(std *streams, q call) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	var done struct {
		plugin.Swapped
		Note string `json:"note,omitempty"`
	}
	if err := api.do(q, &done); err != nil {
		return err
	}
	if f.JSON {
		return std.printJSON(done)
	}
	fmt.Fprintf(std.out, "%s: %s is replaced by %s, generation %d\n", printable(done.Name), short(done.Before), short(done.After), done.Generation)
	if done.SignedBy != "" {
		fmt.Fprintf(std.out, "signed under the key %s\n", printable(done.SignedBy))
	}
	if done.Note != "" {
		fmt.Fprintln(std.out, printable(done.Note))
	}
	return nil
}

// digest is a SHA-256 in hex.
type digest string

// UnmarshalText reads 64 hexadecimal digits.
func (d *digest) UnmarshalText(text []byte) error {
	if b, err := hex.DecodeString(string(text)); err != nil || len(b) != 32 {
		return fmt.Errorf("%q is no SHA-256: write its 64 hexadecimal digits", text)
	}
	*d = digest(strings.ToLower(string(text)))
	return nil
}

type pluginReload struct{ adminFlags }

// Help says more than one line does.
func (c *pluginReload) Help() string {
	return `The server reads its config.toml again, and takes over what has changed of the
plugins: their entries and their files, all together, between two requests. What
is wrong in any of them changes nothing. Other keys keep their values until a
restart; the answer names those that have changed. SIGHUP does the same.`
}

// Run reloads.
func (c *pluginReload) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	var done admin.Reloaded
	if err := api.do(call{method: "POST", path: "/api/plugins/reload"}, &done); err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(done)
	}
	for _, list := range []struct {
		what  string
		names []string
	}{{"added", done.Added}, {"changed", done.Changed}, {"removed", done.Removed}, {"unchanged", done.Unchanged}} {
		if len(list.names) > 0 {
			fmt.Fprintf(std.out, "%-10s %s\n", list.what, printable(strings.Join(list.names, ", ")))
		}
	}
	if len(done.Restart) > 0 {
		fmt.Fprintf(std.out, "a restart takes over what else has changed: %s\n", printable(strings.Join(done.Restart, ", ")))
	}
	return nil
}
