package main

import "strings"

// wit writes the contract as an interface of the component model, for those who
// bridge: the host runs core modules and knows nothing of it.
func wit(s *Schema) (map[string][]byte, error) {
	var w writer
	w.p(header+"/// The contract of Souk's plugins, version 1, for those who bridge it to the\n/// component model. Souk itself runs core modules: see ABI.md.\npackage souk:plugin@1.%s.0;\n", witMinor(s))
	w.p("interface types {")
	for i, e := range s.Enums {
		if i > 0 {
			w.p("")
		}
		witDoc(&w, "  ", e.Doc)
		for _, v := range e.Values {
			w.p("  /// %s = %s%s", v.Value, kebab(e.within(v)), witNote(v.Doc))
		}
		w.p("  type %s = %s;", kebab(snake(e.Name)), witInt(e.Type))
	}
	for _, r := range s.inOrder() {
		w.p("")
		witDoc(&w, "  ", r.Doc)
		w.p("  record %s {", kebab(snake(r.Name)))
		if r.Head != "" {
			w.p("    head: %s,", kebab(snake(r.Head)))
		}
		for _, f := range r.Fields {
			if f.Doc != "" {
				witDoc(&w, "    ", f.Doc)
			}
			w.p("    %s: %s,", witName(kebab(snake(f.Name))), witType(s, f))
		}
		w.p("  }")
	}
	w.p("}\n\n/// The host functions: an error is a code.\ninterface host {\n  use types.{code, level};")
	for _, im := range s.Imports {
		w.p("")
		witDoc(&w, "  ", strings.ReplaceAll(strings.Replace(im.Doc, im.Method, im.Name, 1), "[Bucket]", "ABI.md"))
		w.p("  %s", witFunction(im))
	}
	w.p("}\n\n/// A plugin exports the hooks that it answers; none is an abstention, and an\n/// error is its own code.\nworld plugin {\n  import host;")
	w.p("  /// A text says what is wrong with the configuration.\n  export configure: func(json: string) -> result<_, string>;")
	for _, r := range s.Records {
		if r.Message && r.Request {
			w.p("  use types.{%s, %s};", kebab(snake(r.Name)), kebab(snake(s.verdict(r).Name)))
			w.p("  export %s: func(request: %s) -> result<option<%s>, u32>;", kebab(snake(r.Hook)), kebab(snake(r.Name)), kebab(snake(s.verdict(r).Name)))
		}
	}
	w.p("}")
	return map[string][]byte{"sdk/souk.wit": w.Bytes()}, nil
}

func witMinor(s *Schema) string {
	for _, v := range s.Consts {
		if v.Name == "Minor" {
			return v.Value
		}
	}
	return "0"
}

func kebab(s string) string { return strings.ReplaceAll(s, "_", "-") }

// witName escapes the words that WIT has itself.
func witName(s string) string {
	switch s {
	case "from", "type", "use", "list", "option", "result", "own", "static", "record", "flags", "enum":
		return "%" + s
	}
	return s
}

func witInt(t string) string {
	return strings.NewReplacer("uint", "u", "int", "s").Replace(t)
}

func witDoc(w *writer, indent, doc string) {
	for _, line := range sentences(doc) {
		w.p("%s", strings.TrimRight(indent+"/// "+line, " "))
	}
}

func witNote(doc string) string {
	if doc == "" {
		return ""
	}
	return ": " + mdText(doc)
}

func witType(s *Schema, f *Field) string {
	switch f.Kind {
	case Str:
		return "string"
	case Strs:
		return "list<string>"
	case List:
		return "list<" + kebab(snake(f.Elem.Name)) + ">"
	}
	if strings.ToLower(f.Type) != f.Type {
		return kebab(snake(f.Type))
	}
	return witInt(f.Type)
}

// witFunction makes values of addresses and lengths: what an address points to
// is a list of bytes, what is written to out is the result.
func witFunction(im *Import) string {
	var params []string
	out := false
	for i, p := range im.Params {
		switch {
		case p.Name == "out":
			out = true
		case p.Type == Address:
			t := "list<u8>"
			if p.Name == "key" || p.Name == "salt" || p.Name == "text" || p.Name == "password" {
				t = "string"
			}
			params = append(params, p.Name+": "+t)
		case i > 0 && im.Params[i-1].Type == Address: // its length
		case p.Name == "level":
			params = append(params, "level: level")
		default:
			params = append(params, p.Name+": "+witInt(p.Type))
		}
	}
	result := " -> result<_, code>"
	switch {
	case im.Result == "":
		result = ""
	case im.Name == "bucket":
		result = " -> u32"
	case im.Name == "password_verify":
		result = " -> result<bool, code>"
	case out && strings.Contains(im.Doc, "8 bytes"):
		result = " -> result<s64, code>"
	case out:
		result = " -> result<list<u8>, code>"
	}
	return kebab(im.Name) + ": func(" + strings.Join(params, ", ") + ")" + result + ";"
}
