package author

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/souk-market/souk/sdk"
	"github.com/souk-market/souk/sdk/toolchain"
)

// layout is what the files of a new project are written from.
type layout struct {
	Name, Lang, Title, Source, Hook string
	Allow                           string // as TOML
	First                           string
	Go                              string // version of go.mod
	Packages                        string // of npm, that building needs, as JSON
	Command                         string // what builds it without souk
}

// versions takes what is pinned from where the SDK has it.
func (v *layout) versions(l *language) error {
	text, err := fs.ReadFile(sdk.Files, "TOOLCHAINS")
	if err != nil {
		return err
	}
	chains, err := toolchain.Parse(text)
	if err != nil {
		return err
	}
	for _, c := range chains {
		switch c.Language {
		case "go": // go1.26.8: its modules work with every 1.26
			major, rest, _ := strings.Cut(strings.TrimPrefix(c.Answers, "go"), ".")
			minor, _, _ := strings.Cut(rest, ".")
			v.Go = major + "." + minor
		}
		if c.Language == l.name {
			c = c.With("", "sdk/assemblyscript/node_modules/", "node_modules/", "sdk/", sdkDir+"/sdk/", "./$DIR", ".", "$SRC", l.source, "$OUT", "plugin.wasm", "$TMP/", "")
			var lines []string
			for _, run := range c.Runs {
				lines = append(lines, strings.Join(append(append([]string{}, c.Env...), quoted(run)...), " "))
			}
			v.Command = strings.Join(lines, "\n")
		}
	}
	return v.packages(l)
}

// packages are those that the SDK of the language itself is built with.
func (v *layout) packages(l *language) error {
	text, err := fs.ReadFile(sdk.Files, l.name+"/package.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var own struct {
		Dependencies    map[string]string `json:"dependencies"`
		DevDependencies map[string]string `json:"devDependencies"`
	}
	if err := json.Unmarshal(text, &own); err != nil {
		return err
	}
	all := map[string]string{}
	maps.Copy(all, own.Dependencies)
	maps.Copy(all, own.DevDependencies)
	b, err := json.Marshal(all)
	v.Packages = string(b)
	return err
}

// quoted puts words with spaces into quotes.
func quoted(words []string) []string {
	all := append([]string{}, words...)
	for i, w := range all {
		if strings.Contains(w, " ") {
			all[i] = `"` + w + `"`
		}
	}
	return all
}

// write writes those of the files that the language and the hook have.
func (v *layout) write(dir string, l *language, files []file) error {
	for _, f := range files {
		if f.lang != "" && f.lang != l.name || f.hook != "" && f.hook != v.Hook {
			continue
		}
		var text bytes.Buffer
		if err := f.text.Execute(&text, v); err != nil {
			return err
		}
		if err := write(filepath.Join(dir, filepath.FromSlash(f.name)), text.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// allows are what the templates may import, as TOML.
var allows = map[string]string{
	"entitle": "[]", "select_version": "[]", "sign_in": `["kv", "password"]`, "exchange": `["kv", "password"]`,
}

type file struct {
	name, lang, hook string // "" = every
	text             *template.Template
}

func text(s string) *template.Template {
	return template.Must(template.New("").Parse(strings.TrimPrefix(s, "\n")))
}

// files are those of a project beside its source and the SDK.
var files = []file{
	{File, "", "", text(`
# What ` + "`souk plugin`" + ` knows of this plugin.
lang = "{{.Lang}}"
source = "{{.Source}}"
cases = ["cases.toml"]
# build = ["make plugin.wasm"]  # commands of your own instead of the language's

# Below are the keys of a [[plugin]] in the server's config.toml.
name = "{{.Name}}"
file = "plugin.wasm"
hooks = ["{{.Hook}}"]
allow = {{.Allow}}
# [config]  # handed to the plugin
`)},
	{"cases.toml", "", "select_version", text(selectCases)},
	{"cases.toml", "", "entitle", text(entitleCases)},
	{"cases.toml", "", "sign_in", text(signInCases)},
	{"cases.toml", "", "exchange", text(exchangeCases)},
	{".gitignore", "", "", text(`
plugin.wasm
{{if .Packages}}node_modules/
{{end}}{{if eq .Lang "rust"}}target/
{{end}}`)},
	{"README.md", "", "", text(`
# {{.Name}}

A plugin of Souk in {{.Title}}. It answers ` + "`{{.Hook}}`" + `.

{{if .First}}    {{.First}}    # once
{{end}}    souk plugin build
    souk plugin test
    souk plugin serve   # a server that asks it, to try it out

- ` + "`{{.Source}}`" + ` is the policy, ` + "`cases.toml`" + ` says what it has to answer, and
  ` + "`souk-plugin.toml`" + ` what it may do and how it is configured.
- ` + "`souk plugin build`" + ` makes ` + "`plugin.wasm`" + ` and prints the ` + "`[[plugin]]`" + ` block for the
  server's ` + "`config.toml`" + `.
- ` + "`souk/`" + ` is a copy of the SDK: ` + "`souk/sdk/ABI.md`" + ` has every record and host function.

Without souk it is built with

` + "```sh" + `
{{.Command}}
` + "```" + `
`)},
	{"go.mod", "go", "", text(`
module example.com/{{.Name}}

go {{.Go}}

require github.com/souk-market/souk v0.0.0

replace github.com/souk-market/souk => ./souk
`)},
	{"Cargo.toml", "rust", "", text(`
# For editors, and for cargo: cargo build --release --target wasm32-unknown-unknown
[package]
name = "{{.Name}}"
version = "0.1.0"
edition = "2021"

[lib]
crate-type = ["cdylib"]
path = "{{.Source}}"

[dependencies]
souk = { path = "souk/sdk/rust" }

[profile.release]
panic = "abort"
lto = true
strip = true
codegen-units = 1

[profile.dev]
panic = "abort"
`)},
	{"package.json", "assemblyscript", "", text(packageJSON)},
	{"package.json", "javascript", "", text(packageJSON)},
	{"tsconfig.json", "assemblyscript", "", text(`
{
  "extends": "assemblyscript/std/assembly.json",
  "include": ["*.ts"]
}
`)},
}

// packageJSON is for npm and for editors; souk itself doesn't read it.
const packageJSON = `
{
  "name": "{{.Name}}",
  "private": true,
  "type": "module",
  "scripts": { "build": "souk plugin build", "test": "souk plugin test" },
  "devDependencies": {{.Packages}}
}
`

// sdkFiles are those of the copy of the SDK that the repository has elsewhere.
var sdkFiles = []file{
	{sdkDir + "/go.mod", "go", "", text(`
module github.com/souk-market/souk

go {{.Go}}
`)},
}
