package catalog

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with an item.
type Problem struct {
	Path string // such as "items[3].versions[0].min_os.ios"
	Text string // what is wrong and what would be right
}

func (p Problem) String() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// Invalid is the error for items that break the rules, with all that was found in one go.
// It is what the operator needs to read, so nothing else is wrapped in it.
type Invalid []Problem

// Error lists the first problems, a line for each.
func (e Invalid) Error() string {
	const shown = 20
	var b strings.Builder
	b.WriteString("catalog: ")
	for i, p := range e {
		if i == shown {
			fmt.Fprintf(&b, "\nand %d more", len(e)-shown)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// at joins a path and a key.
func at(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// nth joins a path, a key and an index.
func nth(path, key string, i int) string { return fmt.Sprintf("%s[%d]", at(path, key), i) }

// quote shortens what is repeated from a file.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
