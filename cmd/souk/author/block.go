package author

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
)

// Block is a [[plugin]] for config.toml that loads the module as it was checked:
// what is not a default stands in it.
func (r *Report) Block() string {
	s, d := &r.spec, plugin.DefaultSpec()
	var b strings.Builder
	b.WriteString("[[plugin]]\n")
	key := func(name string, value any) { fmt.Fprintf(&b, "%s = %v\n", name, value) }
	file, err := filepath.Abs(r.File)
	if err != nil {
		file = r.File
	}
	hooks := s.Hooks
	if len(hooks) == 0 {
		hooks = r.Hooks
	}
	key("name", strconv.Quote(s.Name))
	key("file", strconv.Quote(file))
	fmt.Fprintf(&b, "# sha256 = %q  # pins this build\n", r.SHA256)
	key("hooks", texts(hooks))
	key("on_error", strconv.Quote(s.OnError))
	if s.Memory != d.Memory {
		key("memory", strconv.Quote(s.Memory.String()))
	}
	if s.Fuel != d.Fuel {
		key("fuel", s.Fuel)
	}
	if s.StartFuel != d.StartFuel {
		key("start_fuel", s.StartFuel)
	}
	for _, t := range []struct {
		name       string
		is, absent unit.Duration
	}{
		{"deadline", s.Deadline, d.Deadline}, {"host_deadline", s.HostDeadline, d.HostDeadline}, {"start_deadline", s.StartDeadline, d.StartDeadline},
	} {
		if t.is != t.absent {
			key(t.name, strconv.Quote(t.is.String()))
		}
	}
	key("allow", texts(s.Allow))
	switch {
	case len(s.Hosts) > 0:
		key("hosts", texts(s.Hosts))
	case slices.Contains(s.Allow, "http"):
		key("hosts", `[]  # name the servers that it asks, like "id.example.com"`)
	}
	if len(s.Config) > 0 {
		var config bytes.Buffer
		e := toml.NewEncoder(&config)
		e.Indent = ""
		if err := e.Encode(map[string]any{"plugin": map[string]any{"config": s.Config}}); err == nil {
			_, table, _ := strings.Cut(config.String(), "[plugin]\n")
			b.WriteString(strings.TrimSpace(table) + "\n")
		}
	}
	if len(s.Secrets) > 0 {
		b.WriteString("[plugin.secrets]\n")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		kind, where := "file", s.Secrets[name].File
		if where == "" {
			kind, where = "env", s.Secrets[name].Env
		}
		fmt.Fprintf(&b, "%s = { %s = %q }\n", name, kind, where)
	}
	return b.String()
}

func texts(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
