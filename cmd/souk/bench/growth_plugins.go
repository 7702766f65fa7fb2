package bench

import (
	"fmt"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
)

// pluginStages have more and more plugins that are all asked: each says who may have an
// app, and lets everybody. A denial would end the questions, and so would a version that
// one of them has chosen.
var pluginStages = func() (all []*stage) {
	for _, n := range []int{1, 2, 4, 8} {
		s := &stage{name: fmt.Sprintf("plugins-%d", n)}
		for i := range n {
			p := plugin.DefaultSpec()
			p.Name, p.Wasm, p.Config = fmt.Sprintf("allowlist-%d", i+1), plugins.Allowlist, plugin.Table{"default": "allow"}
			s.plugins = append(s.plugins, p)
		}
		all = append(all, s)
	}
	return all
}()
