package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// javascript writes the names of the JavaScript SDK, the layout of the records as
// data, and the types of both for editors.
func javascript(s *Schema) (map[string][]byte, error) {
	for _, r := range s.Records {
		for _, f := range r.Fields {
			if s.written(r) && f.Kind == U64 && !padding(f) {
				return nil, fmt.Errorf("%s.%s: the JavaScript SDK writes no numbers of 64 bits yet: see $put_record in sdk/javascript/engine.wat", r.Name, f.Name)
			}
		}
	}
	table, err := jsABI(s)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"sdk/javascript/abi.js": table, "sdk/javascript/abi.d.ts": jsTypes(s)}, nil
}

// padding says whether a field has no meaning for a plugin: it has to be zero, or
// the SDK deals with it.
func padding(f *Field) bool {
	switch f.Name {
	case "Zero", "Reserved", "Size", "Fixed", "Hook":
		return true
	}
	return false
}

// written says whether a guest writes a record: a verdict's or the question of
// http_fetch, and what they hold.
func (s *Schema) written(r *Record) bool {
	for _, m := range s.Records {
		if m.Message && (strings.HasSuffix(m.Name, "Verdict") || m.Name == "FetchRequest") && m.holds(r) {
			return true
		}
	}
	return false
}

// read says whether a guest reads a record.
func (s *Schema) read(r *Record) bool {
	for _, m := range s.Records {
		if m.Message && (m.Request || m.Name == "FetchResponse") && m.holds(r) {
			return true
		}
	}
	return false
}

func (r *Record) holds(other *Record) bool {
	if r == other {
		return true
	}
	for _, f := range r.Fields {
		if f.Elem != nil && f.Elem.holds(other) {
			return true
		}
	}
	return false
}

// said says whether a plugin has to say a field: a decision that somebody forgot
// must not be the one with the number 0.
func (s *Schema) said(r *Record, f *Field) bool {
	for _, m := range s.Records {
		if m.Message && m.Hook != "" && !m.Request && s.item(m) == r {
			return f == r.Fields[0]
		}
	}
	return false
}

// all are the fields of a record with those of its head, as JavaScript sees them.
func (s *Schema) all(r *Record) []*Field {
	var list []*Field
	if h := s.byName[r.Head]; h != nil && r.Request {
		list = s.all(h)
	}
	for _, f := range r.Fields {
		if !padding(f) {
			list = append(list, f)
		}
	}
	return list
}

var jsKinds = map[Kind]string{U16: "u16", U32: "u32", U64: "u64", I32: "i32", Str: "text", Strs: "texts", List: "list"}

func jsABI(s *Schema) ([]byte, error) {
	var w writer
	w.p(header + "// The contract of Souk's plugins, version 1: names, and the layout of the records.\n// The objects are marked as pure, so that a plugin has only those that it uses.\n")
	for _, v := range s.Consts {
		asDoc(&w, "", v.Doc)
		w.p("export const %s = %s;", upper(v.Name), v.Value)
	}
	for _, e := range s.Enums {
		w.p("")
		asDoc(&w, "", e.Doc)
		w.p("export const %s = /* @__PURE__ */ Object.freeze({", e.Name)
		for _, v := range e.Values {
			asDoc(&w, "  ", v.Doc)
			w.p("  %s: %s,", asMember(e, v), v.Value)
		}
		w.p("});")
	}
	w.p("\n// The layout of the records; said: a plugin has to name the field.\nexport const records = {")
	type field struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
		At   int    `json:"at"`
		Of   string `json:"of,omitempty"`
		Said bool   `json:"said,omitempty"`
	}
	for _, r := range s.Records {
		if s.byName[r.Name].isHead(s) {
			continue
		}
		var fields []field
		for _, f := range s.all(r) {
			x := field{Name: camel(f.Name), Kind: jsKinds[f.Kind], At: f.Offset, Said: s.said(r, f)}
			if f.Elem != nil {
				x.Of = f.Elem.Name
			}
			fields = append(fields, x)
		}
		b, err := json.Marshal(fields)
		if err != nil {
			return nil, err
		}
		w.p("  %s: { size: %d, fields: %s },", r.Name, r.Size, b)
	}
	w.p("};\n\n// The hooks: a plugin's function, the module's export, and the records.\nexport const hooks = {")
	for _, r := range s.Records {
		if r.Message && r.Request {
			v := s.verdict(r)
			w.p("  %s: { name: %q, request: %q, answer: %q, apps: %v },", camel(r.Hook), snake(r.Hook), r.Name, s.item(v).Name, r.apps())
		}
	}
	w.p("};\n\n// The host functions and what they take: bytes (a text or a Uint8Array), numbers, or\n// where something is written to.\nexport const functions = {")
	for _, im := range s.Imports {
		takes, err := json.Marshal(jsTakes(im))
		if err != nil {
			return nil, err
		}
		w.p("  %s: { allow: %q, takes: %s, answers: %v },", im.Name, im.Group, takes, im.Result != "")
	}
	w.p("};")
	return w.Bytes(), nil
}

// isHead says whether other records begin with this one.
func (r *Record) isHead(s *Schema) bool {
	for _, other := range s.Records {
		if other.Head == r.Name {
			return true
		}
	}
	return false
}

// jsTakes are the parameters of a host function, an address and its length as one.
func jsTakes(im *Import) []string {
	var list []string
	for i := 0; i < len(im.Params); i++ {
		p := im.Params[i]
		switch {
		case p.Type == Address && i+1 < len(im.Params) && im.Params[i+1].Type == "uint32":
			kind := "bytes"
			if im.Params[i+1].Name == "capacity" {
				kind = "out"
			}
			list = append(list, kind)
			i++
		case p.Type == Address:
			list = append(list, "sum")
		default:
			list = append(list, map[string]string{"uint32": "u32", "int64": "i64"}[p.Type])
		}
	}
	return list
}

func jsTypes(s *Schema) []byte {
	var w writer
	w.p(header + "// The contract of Souk's plugins, version 1, for editors.\n")
	for _, v := range s.Consts {
		jsDoc(&w, "", v.Doc)
		w.p("export declare const %s: %s;", upper(v.Name), v.Value)
	}
	for _, e := range s.Enums {
		jsDoc(&w, "\n", e.Doc)
		w.p("export declare const %s: {", e.Name)
		for _, v := range e.Values {
			jsDoc(&w, "  ", v.Doc)
			w.p("  readonly %s: %s;", asMember(e, v), v.Value)
		}
		w.p("};")
	}
	for _, r := range s.Records {
		if r.isHead(s) || strings.HasSuffix(r.Name, "Verdict") {
			continue
		}
		jsDoc(&w, "\n", r.Doc)
		w.p("export interface %s {", r.Name)
		for _, f := range s.all(r) {
			jsDoc(&w, "  ", f.Doc)
			optional := ""
			if !s.read(r) && !s.said(r, f) {
				optional = "?"
			}
			w.p("  %s%s: %s;", camel(f.Name), optional, jsType(f))
		}
		w.p("}")
	}
	w.p("\nexport interface Field {\n  name: string;\n  kind: \"u16\" | \"u32\" | \"u64\" | \"i32\" | \"text\" | \"texts\" | \"list\";\n  at: number;\n  of?: string;\n  said?: boolean;\n}")
	w.p("export declare const records: Record<string, { size: number; fields: Field[] }>;")
	w.p("export declare const hooks: Record<string, { name: string; request: string; answer: string; apps: boolean }>;")
	w.p("export declare const functions: Record<string, { allow: string; takes: string[]; answers: boolean }>;")
	return w.Bytes()
}

// jsDoc writes a comment that editors show.
func jsDoc(w *writer, indent, doc string) {
	if strings.HasPrefix(indent, "\n") {
		w.p("")
		indent = indent[1:]
	}
	if doc = strings.TrimSpace(doc); doc == "" {
		return
	}
	w.p("%s/** %s */", indent, strings.Join(sentences(doc), "\n"+indent+" * "))
}

func jsType(f *Field) string {
	switch f.Kind {
	case U64:
		return "bigint"
	case Str:
		return "string"
	case Strs:
		return "string[]"
	case List:
		return f.Elem.Name + "[]"
	}
	return "number"
}
