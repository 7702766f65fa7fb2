package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// Schema is the contract as the languages need it: layouts and names, with the
// sentences that explain them.
type Schema struct {
	Records []*Record // in the order of the source: a record stands before none that it needs
	Enums   []*Enum
	Imports []*Import
	Consts  []Value   // without a type: names and bounds; the value is computed, a text is quoted
	Vectors []*Vector // of sdk/abi/testdata
	Buckets []Bucket
	byName  map[string]*Record
	kinds   map[string]string // named integer type → its Go type
}

// Record is one flat record.
type Record struct {
	Name    string
	Doc     string
	Head    string // the record that it begins with: "Head", "VerdictHead" or ""
	Fields  []*Field
	Size    int // bytes of the fixed part
	Message bool
	Hook    string // of a message: the hook's name in Go, e.g. "Entitle"
	Request bool
}

// Field is one field with its place.
type Field struct {
	Name   string
	Doc    string
	Kind   Kind
	Type   string // as Go writes it
	Elem   *Record
	Offset int
	Size   int
}

// Kind says how a field is laid out.
type Kind int

// The kinds of fields.
const (
	U16 Kind = iota
	U32
	U64
	I32
	Str
	Strs
	List
)

var layout = map[Kind]struct{ size, align int }{
	U16: {2, 2}, U32: {4, 4}, I32: {4, 4}, U64: {8, 8}, Str: {8, 4}, Strs: {16, 4}, List: {16, 4},
}

// Enum is a named integer type with its constants.
type Enum struct {
	Name, Doc, Type string
	Values          []Value
}

// Value is one constant.
type Value struct{ Name, Doc, Value string }

// Import is one host function.
type Import struct {
	Group, Name, Method, Doc string
	Params                   []Param
	Result                   string // "int32" or ""
}

// Param is one parameter of a host function. Type is a Go integer, or Address.
type Param struct{ Name, Type string }

// Address is the type of a parameter that points into the guest's memory.
const Address = "address"

func parse(dir string) (*Schema, error) {
	s := &Schema{byName: map[string]*Record{}, kinds: map[string]string{}}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range []string{"abi.go", "records.go", "bucket.go"} {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	// Named integers first: records use them before they are declared.
	each(files, func(d *ast.GenDecl, t *ast.TypeSpec) error {
		if id, ok := t.Type.(*ast.Ident); ok && ast.IsExported(t.Name.Name) {
			s.kinds[t.Name.Name] = id.Name
			s.Enums = append(s.Enums, &Enum{Name: t.Name.Name, Type: id.Name, Doc: d.Doc.Text()})
		}
		return nil
	})
	s.constants(files)
	err := each(files, func(d *ast.GenDecl, t *ast.TypeSpec) error {
		switch x := t.Type.(type) {
		case *ast.StructType:
			if t.Name.Name == "Import" {
				return nil
			}
			return s.record(t.Name.Name, d.Doc.Text(), x)
		case *ast.InterfaceType:
			if t.Name.Name == "imports" {
				return s.imports(x)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.place(); err != nil {
		return nil, err
	}
	return s, s.golden(filepath.Join(dir, "testdata"))
}

func each(files []*ast.File, f func(*ast.GenDecl, *ast.TypeSpec) error) error {
	for _, file := range files {
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				if err := f(g, spec.(*ast.TypeSpec)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// constants collects the typed constants of the named integers.
func (s *Schema) constants(files []*ast.File) {
	for _, file := range files {
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				id, ok := v.Type.(*ast.Ident)
				if !ok {
					s.untyped(g, v)
					continue
				}
				for _, e := range s.Enums {
					if e.Name == id.Name {
						e.Values = append(e.Values, Value{v.Names[0].Name, strings.TrimSpace(v.Comment.Text()), source(v.Values[0])})
					}
				}
			}
		}
	}
}

// untyped collects a constant without a type.
func (s *Schema) untyped(g *ast.GenDecl, v *ast.ValueSpec) {
	if v.Type != nil || !v.Names[0].IsExported() {
		return
	}
	doc := v.Comment.Text()
	if doc == "" && !g.Lparen.IsValid() {
		doc = g.Doc.Text()
	}
	if t, err := types.Eval(token.NewFileSet(), nil, token.NoPos, types.ExprString(v.Values[0])); err == nil && t.Value != nil {
		s.Consts = append(s.Consts, Value{v.Names[0].Name, strings.TrimSpace(doc), t.Value.ExactString()})
	}
}

func source(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		return x.Value
	case *ast.UnaryExpr:
		return x.Op.String() + source(x.X)
	}
	return "?"
}

func (s *Schema) record(name, doc string, x *ast.StructType) error {
	r := &Record{Name: name, Doc: doc}
	for _, f := range x.Fields.List {
		if len(f.Names) == 0 {
			r.Head = f.Type.(*ast.Ident).Name
			continue
		}
		kind, typ, err := s.kind(f.Type)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", name, f.Names[0].Name, err)
		}
		for _, n := range f.Names {
			r.Fields = append(r.Fields, &Field{Name: n.Name, Kind: kind, Type: typ, Doc: strings.TrimSpace(f.Comment.Text())})
		}
	}
	if r.Head != "" {
		r.Message = true
		r.Request = r.Head == "Head"
		r.Hook = strings.TrimSuffix(strings.TrimSuffix(name, "Request"), "Verdict")
	}
	s.Records = append(s.Records, r)
	s.byName[name] = r
	return nil
}

func (s *Schema) kind(t ast.Expr) (Kind, string, error) {
	switch x := t.(type) {
	case *ast.Ident:
		base := x.Name
		if k, ok := s.kinds[base]; ok {
			base = k
		}
		switch base {
		case "uint16":
			return U16, x.Name, nil
		case "uint32":
			return U32, x.Name, nil
		case "uint64":
			return U64, x.Name, nil
		case "int32":
			return I32, x.Name, nil
		case "string":
			return Str, x.Name, nil
		}
	case *ast.ArrayType:
		if id, ok := x.Elt.(*ast.Ident); ok && x.Len == nil {
			if id.Name == "string" {
				return Strs, "[]string", nil
			}
			return List, id.Name, nil
		}
	}
	return 0, "", fmt.Errorf("no layout for %T: use uint16, uint32, uint64, int32, string, or a list of strings or records", t)
}

// place computes the offsets. Padding that nobody named is an error: every
// byte of a record has a field.
func (s *Schema) place() error {
	for range len(s.Records) { // heads and elements may stand after their users
		for _, r := range s.Records {
			at := 0
			if r.Head != "" {
				h := s.byName[r.Head]
				if h == nil {
					return fmt.Errorf("%s: no record %s", r.Name, r.Head)
				}
				at = h.Size
			}
			for _, f := range r.Fields {
				l := layout[f.Kind]
				if at%l.align != 0 {
					return fmt.Errorf("%s.%s at %d needs padding: name it, or move the field", r.Name, f.Name, at)
				}
				f.Offset, f.Size = at, l.size
				at += l.size
				if f.Kind == List {
					if f.Elem = s.byName[f.Type]; f.Elem == nil {
						return fmt.Errorf("%s.%s: no record %s", r.Name, f.Name, f.Type)
					}
				}
			}
			r.Size = at
		}
	}
	for _, r := range s.Records {
		if r.Size%8 != 0 {
			return fmt.Errorf("%s has %d bytes: add a field so that an array of it stays 8-aligned", r.Name, r.Size)
		}
	}
	return nil
}

func (s *Schema) imports(x *ast.InterfaceType) error {
	for _, m := range x.Methods.List {
		f := m.Type.(*ast.FuncType)
		im := &Import{Method: m.Names[0].Name}
		var doc []string
		for _, c := range m.Doc.List {
			if d, ok := strings.CutPrefix(c.Text, "//souk:import "); ok {
				im.Group, im.Name, _ = strings.Cut(d, " ")
				continue
			}
			doc = append(doc, strings.TrimPrefix(strings.TrimPrefix(c.Text, "//"), " "))
		}
		if im.Name == "" {
			return fmt.Errorf("imports.%s: the directive //souk:import GROUP NAME is missing", im.Method)
		}
		im.Doc = strings.Join(doc, "\n")
		for _, p := range f.Params.List {
			for _, n := range p.Names {
				im.Params = append(im.Params, Param{n.Name, p.Type.(*ast.Ident).Name})
			}
		}
		if f.Results != nil {
			im.Result = f.Results.List[0].Type.(*ast.Ident).Name
		}
		s.Imports = append(s.Imports, im)
	}
	return nil
}

// snake turns BundleID into bundle_id, the name that a field has in the
// contract and in all languages but Go.
func snake(name string) string {
	runes := []rune(strings.NewReplacer("IPadOS", "Ipados", "OAuth", "Oauth").Replace(name))
	var b strings.Builder
	for i, c := range runes {
		lowerBefore := i > 0 && unicode.IsLower(runes[i-1])
		lowerBehind := i > 0 && i+1 < len(runes) && unicode.IsLower(runes[i+1])
		if unicode.IsUpper(c) && (lowerBefore || lowerBehind) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// upper turns MaxKVKey into MAX_KV_KEY.
func upper(name string) string { return strings.ToUpper(snake(name)) }

// camel turns bundle_id into bundleId.
func camel(name string) string {
	words := strings.Split(snake(name), "_")
	for i := 1; i < len(words); i++ {
		words[i] = strings.ToUpper(words[i][:1]) + words[i][1:]
	}
	return strings.Join(words, "")
}

// within is the name of a constant in languages where its enum is a scope: the
// words in front that the enum's own name has are left out.
func (e *Enum) within(v Value) string {
	words := strings.Split(snake(v.Name), "_")
	for n := len(words) - 1; n > 0; n-- {
		if strings.Contains(snake(e.Name), strings.Join(words[:n], "_")) {
			return strings.Join(words[n:], "_")
		}
	}
	return strings.Join(words, "_")
}

// base is the Go integer of a field.
func (s *Schema) base(f *Field) string {
	if k, ok := s.kinds[f.Type]; ok {
		return k
	}
	return f.Type
}

// inOrder lists the records so that none stands before one that it holds.
func (s *Schema) inOrder() []*Record {
	var list []*Record
	var visit func(r *Record)
	visit = func(r *Record) {
		if slices.Contains(list, r) {
			return
		}
		if r.Head != "" {
			visit(s.byName[r.Head])
		}
		for _, f := range r.Fields {
			if f.Elem != nil {
				visit(f.Elem)
			}
		}
		list = append(list, r)
	}
	for _, r := range s.Records {
		visit(r)
	}
	return list
}

// verdict is the record that answers a request.
func (s *Schema) verdict(request *Record) *Record { return s.byName[request.Hook+"Verdict"] }

// item is the record of which a verdict has one for each app, or just one.
func (s *Schema) item(verdict *Record) *Record { return verdict.Fields[0].Elem }

// apps says whether a request is about several apps.
func (r *Record) apps() bool { return r.Fields[0].Name == "Apps" }

// points says whether a record has texts or lists.
func (r *Record) points() bool {
	return slices.ContainsFunc(r.Fields, func(f *Field) bool { return f.Kind >= Str })
}

// lists says whether a record has lists.
func (r *Record) lists() bool {
	return slices.ContainsFunc(r.Fields, func(f *Field) bool { return f.Kind == Strs || f.Kind == List })
}

// sentences are the lines of a comment, without an empty one at the end.
func sentences(doc string) []string { return strings.Split(strings.TrimSpace(doc), "\n") }
