package plugin

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

// Spec is one [[plugin]] of the configuration. Begin with DefaultSpec: a zero
// limit is not a default, it is refused.
type Spec struct {
	Name          string        `toml:"name"`           // lower-case letters, digits, _ and -; also the namespace of its kv
	File          string        `toml:"file"`           // the module
	SHA256        string        `toml:"sha256"`         // of the file, in hex; "" = not pinned
	Hooks         []string      `toml:"hooks"`          // which of its exported hooks are asked; empty = all
	Shadow        bool          `toml:"shadow"`         // it is asked beside the others, about apps, and only counted
	InsteadOf     string        `toml:"instead_of"`     // of a shadow: the plugin in whose place it is looked at, with that one's kv; "" = none, it would be one more
	OnError       string        `toml:"on_error"`       // deny, allow (entitle only) or abstain (entitle and select_version only)
	Memory        unit.Size     `toml:"memory"`         // of one instance
	Fuel          uint64        `toml:"fuel"`           // of one call
	Deadline      unit.Duration `toml:"deadline"`       // of one call, without the time in host functions
	HostDeadline  unit.Duration `toml:"host_deadline"`  // of the host functions of one call, and of the wait for an instance
	StartFuel     uint64        `toml:"start_fuel"`     // of the start of one instance: start section, _initialize, configure
	StartDeadline unit.Duration `toml:"start_deadline"` // of the same
	Instances     int           `toml:"instances"`      // at most, for entitle and select_version together, and as many for sign_in and exchange; 0 = 2 × cores
	Breaker       int           `toml:"breaker"`        // failures of a hook in 10 s, and half of its calls, after which it isn't asked for a while; 0 = any number
	Allow         []string      `toml:"allow"`          // groups of host functions that it may import
	Hosts         []string      `toml:"hosts"`          // that http_fetch may ask and a sign-in may redirect to: host or host:port
	Config        Table         `toml:"config"`         // handed to the guest as JSON
	Cases         string        `toml:"cases"`          // file of what it has to answer before it is asked in earnest; "" = none
	Secrets       Secrets       `toml:"secrets"`        // by the names that the guest asks for

	Wasm []byte `toml:"-"` // instead of File: a module that the program carries

	upload *Module // where Wasm came from, of one that was uploaded
}

// Table is a table of the configuration that is for the plugin to read.
type Table map[string]any

// UnmarshalTOML refuses what is no table: the decoder would make an empty one of
// it.
func (t *Table) UnmarshalTOML(v any) error {
	table, ok := v.(map[string]any)
	if !ok {
		return errors.New("has to be a table: write its name in brackets on a line of its own, and keys for the plugin below")
	}
	*t = table
	return nil
}

// DefaultSpec returns a Spec with the default of every key that has one.
func DefaultSpec() Spec {
	return Spec{
		OnError:       "deny",
		Memory:        16 << 20,
		Fuel:          2_000_000,
		Deadline:      unit.Duration(20 * time.Millisecond),
		HostDeadline:  unit.Duration(2 * time.Second),
		StartFuel:     100_000_000,
		StartDeadline: unit.Duration(time.Second),
		Breaker:       5,
	}
}

const (
	page         = 64 << 10
	maxMemory    = 1 << 30
	maxFuel      = 1 << 40
	maxInstances = 1024
	maxName      = 64
	maxBreaker   = 1000
)

// reserved are the hooks that a later version of the contract will have.
var reserved = []string{"organizations", "grant"}

// Validate refuses impossible values. The error begins with the name of the
// field behind key, the place of the Spec in the configuration: "plugin[1]".
func (s *Spec) Validate(key string) error {
	refuse := func(field, format string, args ...any) error {
		return fmt.Errorf("%s.%s: %s", key, field, fmt.Sprintf(format, args...))
	}
	if !validName(s.Name) {
		return refuse("name", "%q is no name: write 1 to %d lower-case letters, digits, _ and -, a letter first", s.Name, maxName)
	}
	if s.Wasm == nil && s.File == "" {
		return refuse("file", "is missing: name the plugin's .wasm file")
	}
	if pin, err := hex.DecodeString(s.SHA256); err != nil || len(pin) != 0 && len(pin) != 32 {
		return refuse("sha256", "%q is no SHA-256: write 64 hexadecimal digits, or \"\" for none", s.SHA256)
	}
	for i, name := range s.Hooks {
		if slices.Contains(reserved, name) {
			return refuse("hooks", "%q is reserved for a later version: remove it", name)
		}
		if _, ok := abi.ParseHook(name); !ok {
			return refuse("hooks", "%q is no hook: use %s", name, list(hookNames()))
		}
		if slices.Contains(s.Hooks[:i], name) {
			return refuse("hooks", "%q stands there twice: remove one", name)
		}
	}
	if _, ok := parseOnError(s.OnError); !ok {
		return refuse("on_error", "%q is none of deny, allow and abstain", s.OnError)
	}
	for _, name := range s.Hooks {
		hook, _ := abi.ParseHook(name)
		if err := s.checkOnError(hook); err != nil {
			return fmt.Errorf("%s.%w", key, err)
		}
	}
	if err := s.checkShadow(); err != nil {
		return fmt.Errorf("%s.%w", key, err)
	}
	switch {
	case s.Memory < page || s.Memory > maxMemory || s.Memory%page != 0:
		return refuse("memory", "%v is impossible: write a multiple of 64KiB up to %v", s.Memory, unit.Size(maxMemory))
	case s.Fuel == 0 || s.Fuel > maxFuel:
		return refuse("fuel", "%d is impossible: write 1 to %d", s.Fuel, uint64(maxFuel))
	case s.StartFuel == 0 || s.StartFuel > maxFuel:
		return refuse("start_fuel", "%d is impossible: write 1 to %d", s.StartFuel, uint64(maxFuel))
	case s.Deadline <= 0:
		return refuse("deadline", "must be more than 0, for example \"20ms\"")
	case s.HostDeadline <= 0:
		return refuse("host_deadline", "must be more than 0, for example \"2s\"")
	case s.StartDeadline <= 0:
		return refuse("start_deadline", "must be more than 0, for example \"1s\"")
	case s.Instances < 0 || s.Instances > maxInstances:
		return refuse("instances", "%d is impossible: write 1 to %d, or 0 for 2 × cores", s.Instances, maxInstances)
	case s.Breaker < 0 || s.Breaker > maxBreaker:
		return refuse("breaker", "%d is impossible: write 1 to %d, or 0 for none", s.Breaker, maxBreaker)
	}
	for _, group := range s.Allow {
		if !slices.Contains(groups(), group) {
			return refuse("allow", "%q is no group of host functions: use %s", group, list(groups()))
		}
	}
	for _, host := range s.Hosts {
		if !validHost(host) {
			return refuse("hosts", "%q is no host: write it like \"id.example.com\" or \"localhost:8443\", without scheme and path", host)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		if !validName(name) {
			return refuse("secrets", "%q is no name: write 1 to %d lower-case letters, digits, _ and -, a letter first", name, maxName)
		}
		if err := s.Secrets[name].check(); err != nil {
			return refuse("secrets."+name, "%v", err)
		}
	}
	if len(s.Secrets) > 0 && !slices.Contains(s.Allow, "secret") {
		return refuse("secrets", "are there, but the plugin may not read them: add \"secret\" to its allow list, or remove them")
	}
	if slices.Contains(s.Allow, "http") && len(s.Hosts) == 0 {
		return refuse("hosts", "is empty, so http_fetch reaches nobody: list them, or take \"http\" off its allow list")
	}
	if _, err := s.config(); err != nil {
		return refuse("config", "can't be written as JSON: %v", err)
	}
	return nil
}

// checkOnError refuses an on_error that would let someone in who must not be.
func (s *Spec) checkOnError(hook abi.Hook) error {
	switch s.OnError {
	case "allow":
		if hook != abi.HookEntitle {
			return fmt.Errorf("on_error: allow is not possible with %s, only with entitle: use deny", hook)
		}
	case "abstain":
		if hook != abi.HookEntitle && hook != abi.HookSelectVersion {
			return fmt.Errorf("on_error: abstain is not possible with %s, only with entitle and select_version: use deny", hook)
		}
	}
	return nil
}

// checkShadow refuses a shadow of what nobody may look at besides.
func (s *Spec) checkShadow() error {
	if !s.Shadow {
		if s.InsteadOf != "" {
			return errors.New("instead_of: is for shadows only: add shadow = true, or remove it")
		}
		return nil
	}
	for _, name := range s.Hooks {
		if hook, _ := abi.ParseHook(name); !slices.Contains(watchable, hook) {
			return fmt.Errorf("hooks: a shadow is never asked %s, whose questions hold what a person typed: name entitle, select_version or both", name)
		}
	}
	if s.InsteadOf != "" && !validName(s.InsteadOf) {
		return fmt.Errorf("instead_of: %q is no name of a plugin", s.InsteadOf)
	}
	return nil
}

// InEarnest makes a shadow a plugin like others, for those who try it alone.
func (s *Spec) InEarnest() { s.Shadow, s.InsteadOf = false, "" }

// config returns the text that configure gets.
func (s *Spec) config() ([]byte, error) {
	if len(s.Config) == 0 {
		return []byte("{}"), nil
	}
	return json.Marshal(s.Config)
}

// onError says how the failure of a plugin is resolved.
type onError uint8

const (
	errorDenies onError = iota
	errorAllows
	errorAbstains
)

func parseOnError(s string) (onError, bool) {
	i := slices.Index([]string{"deny", "allow", "abstain"}, s)
	return onError(max(i, 0)), i >= 0
}

func validName(s string) bool {
	if s == "" || len(s) > maxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

func validHost(s string) bool {
	u, err := url.Parse("https://" + s)
	return err == nil && s != "" && u.Host == s && u.Hostname() != "" && u.User == nil && s == strings.ToLower(s)
}

// groups returns the words that `allow` may hold.
func groups() []string {
	var names []string
	for _, f := range abi.Imports {
		if f.Group != "always" && !slices.Contains(names, f.Group) {
			names = append(names, f.Group)
		}
	}
	return names
}

func hookNames() []string {
	var names []string
	for _, h := range abi.Hooks {
		names = append(names, h.String())
	}
	return names
}

// list writes names as a sentence has them: "a, b and c".
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
