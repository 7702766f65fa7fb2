package main

import "strings"

// goView writes the views of package abi: the records of a question about apps, read
// where they lie. A field is a method that loads it, so a policy pays for what it looks
// at. Whether the lists are whole is looked at once, when the question is opened; a text
// is looked at when it is asked for.
func goView(s *Schema) string {
	var w writer
	w.p(header + "package abi\n\nimport \"unsafe\"\n")
	head := s.byName["Head"]
	w.p("// HeadView is a Head that is read where it lies: a field when it is asked for.")
	w.p("type HeadView struct {\nm unsafe.Pointer // the message\nsize uint64\nerr error // the first that Fail got\nbroken bool // a text that was asked for is none\n}")
	viewFields(&w, head, "v *HeadView", "v.m", "v")
	for _, r := range s.Records {
		if r.Request && r.apps() {
			viewQuestion(&w, s, r)
			viewAsk(&w, s, r)
			viewElement(&w, r.Fields[0].Elem)
		}
	}
	return w.String()
}

// viewOf is the name of a record's view.
func viewOf(r *Record) string { return strings.TrimSuffix(r.Name, "Request") + "View" }

// viewFields writes a method for each field of a record. The expressions are the
// receiver, where the record lies, and a pointer to the HeadView of its message.
func viewFields(w *writer, r *Record, receiver, at, head string) {
	view := strings.TrimSuffix(strings.TrimPrefix(head, "&"), ".HeadView") // which has its fields and methods
	for _, f := range r.Fields {
		switch name := f.Name; {
		case name == "Size" || name == "Minor" || name == "Hook" || name == "Fixed" || name == "Zero":
		case f.Kind == Strs || f.Kind == List:
			one, result := strings.TrimSuffix(name, "s"), "string"
			if f.Kind == List {
				result = viewOf(f.Elem)
			}
			w.p("\n// %s is how many there are: see [%s].\nfunc (%s) %s() int { return int(load32(%s, %d)) }", name, r.Name, receiver, name, at, f.Offset+4)
			w.p("\n// %s is one of them, from 0 on.\nfunc (%s) %s(i int) %s {", one, receiver, one, result)
			w.p("if uint(i) >= uint(load32(%s, %d)) {\npanic(noSuch)\n}", at, f.Offset+4)
			w.p("p := unsafe.Add(%s.m, uint64(load32(%s, %d))+uint64(i)*uint64(load32(%s, %d)))", view, at, f.Offset, at, f.Offset+8)
			if f.Kind == List {
				w.p("return %s{%s, p}\n}", result, head)
			} else {
				w.p("return %s.text(p, 0)\n}", view)
			}
		case f.Kind == Str:
			w.p("\n// %s is that of [%s].\nfunc (%s) %s() string { return %s.text(%s, %d) }", name, r.Name, receiver, name, view, at, f.Offset)
		default:
			w.p("\n// %s is that of [%s].\nfunc (%s) %s() %s { return %s(load%d(%s, %d)) }", name, r.Name, receiver, name, f.Type, f.Type, f.Kind.bits(), at, f.Offset)
		}
	}
}

// viewQuestion writes the view of a question.
func viewQuestion(w *writer, s *Schema, r *Record) {
	view, apps := viewOf(r), r.Fields[0]
	verdict := s.verdict(r)
	item := s.item(verdict)
	w.p("\n// %s is a question of which nothing is read before it is asked for: see [%s].\n// It is good as long as the message is.", view, r.Name)
	w.p("type %s struct{ HeadView }", view)
	viewFields(w, r, "v *"+view, "v.m", "&v.HeadView")

	w.p("\n// Open takes the message that is all of b. The error is that of a Read, but for texts:\n// they are looked at when they are asked for.")
	w.p("func (v *%s) Open(b []byte) error {", view)
	w.p("size := uint64(len(b))\nif size < Size%s {\nreturn v.rewrite(b)\n}", r.Name)
	w.p("m := unsafe.Pointer(unsafe.SliceData(b))")
	head := s.byName["Head"]
	w.p("if fixed := uint64(load32(m, %d)); uint64(load32(m, %d)) != size || fixed < Size%s || fixed > size {\nreturn v.rewrite(b)\n}", offset(head, "Fixed"), offset(head, "Size"), r.Name)
	for _, f := range head.Fields {
		if f.Kind == Strs {
			viewList(w, "m", f)
			w.p("}")
		}
	}
	viewList(w, "m", apps)
	var within []*Field
	for _, f := range apps.Elem.Fields {
		if f.Kind == Strs || f.Kind == List {
			within = append(within, f)
		}
	}
	if len(within) > 0 {
		w.p("for i := range n {\np := unsafe.Add(m, uint64(at)+uint64(i)*uint64(stride))")
		for _, f := range within {
			viewList(w, "p", f)
			w.p("}")
		}
		w.p("}")
	}
	w.p("}")
	w.p("v.m, v.size, v.err, v.broken = m, size, nil, false\nreturn nil\n}")
	w.p("\n// rewrite takes a message of another shape as this version writes it: one of an older\n// host has shorter records.")
	w.p("func (v *%s) rewrite(b []byte) error {\nvar r %s", view, r.Name)
	w.p("if err := r.Read(b); err != nil {\nreturn err\n}\nreturn v.Open(r.Append(nil))\n}")

	reason := offset(item, "Reason")
	first, code := item.Fields[0], item.Fields[1]
	w.p("\n// Answer asks f about each app and writes the verdict to b's space, or to a larger one.\n// The error says what is wrong with a text that f has asked for, or is what Fail got.")
	w.p("func (v *%s) Answer(b []byte, f func(*%s, %s) %s) ([]byte, error) {", view, view, viewOf(apps.Elem), item.Name)
	w.p("n := v.Apps()\nend := Size%s + n*Size%s\nif cap(b) < end {\nb = make([]byte, end, end+firstSpace)\n}\nb = b[:end]", verdict.Name, item.Name)
	w.p("var last *byte // the reason before this one: most are the same\nvar lastLen int\nvar text uint64")
	w.p("at, stride := uint64(load32(v.m, %d)), uint64(load32(v.m, %d))", apps.Offset, apps.Offset+8)
	w.p("for i := range n {\nitem := f(v, %s{&v.HeadView, unsafe.Add(v.m, at)})\nat += stride", viewOf(apps.Elem))
	w.p("if s := unsafe.StringData(item.Reason); s != last || len(item.Reason) != lastLen {")
	w.p("last, lastLen = s, len(item.Reason)\nif text = 0; lastLen > 0 {\ntext = uint64(len(b)) | uint64(lastLen)<<32\nb = append(b, item.Reason...)\n}\n}")
	w.p("to := unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), Size%s+i*Size%s)", verdict.Name, item.Name)
	w.p("store64(to, %d, uint64(uint32(item.%s))|uint64(item.%s)<<32)\nstore64(to, %d, text)\n}", first.Offset, first.Name, code.Name, reason)
	w.p("if v.broken {\nv.Fail(errText)\n}\nif v.err != nil {\nreturn b, v.err\n}")
	w.p("to := unsafe.Pointer(unsafe.SliceData(b))")
	w.p("store64(to, 0, uint64(len(b))|Minor<<32)\nstore64(to, 8, 0)")
	w.p("store64(to, %d, Size%s|uint64(n)<<32)\nstore64(to, %d, Size%s)\nreturn b, nil\n}", verdict.Fields[0].Offset, verdict.Name, verdict.Fields[0].Offset+8, item.Name)
}

// viewAsk writes the method by which a policy's own tests ask it.
func viewAsk(w *writer, s *Schema, r *Record) {
	app, verdict := viewOf(r.Fields[0].Elem), s.verdict(r)
	item := s.item(verdict).Name
	w.p("\n// Each asks f about each app as a plugin is asked, for its tests.")
	w.p("func (r *%s) Each(f func(*%s, %s) %s) ([]%s, error) {", r.Name, viewOf(r), app, item, item)
	w.p("var q %s\nvar v %s\nif err := q.Open(r.Append(nil)); err != nil {\nreturn nil, err\n}", viewOf(r), verdict.Name)
	w.p("b, err := q.Answer(nil, f)\nif err != nil {\nreturn nil, err\n}\nerr = v.Read(b)\nreturn v.Items, err\n}")
}

// viewList leaves the method Open if a list is not in the message, and opens a block
// for one that has elements.
func viewList(w *writer, at string, f *Field) {
	w.p("if n := load32(%s, %d); n > 0 {", at, f.Offset+4)
	w.p("at, stride := load32(%s, %d), load32(%s, %d)", at, f.Offset, at, f.Offset+8)
	w.p("if stride < %s || uint64(at)+uint64(n)*uint64(stride) > size {\nreturn v.rewrite(b)\n}", elementSize(f))
}

// viewElement writes the view of an element of a list, and of the elements of its own.
func viewElement(w *writer, r *Record) {
	view := viewOf(r)
	w.p("\n// %s is one that is read where it lies: see [%s].", view, r.Name)
	w.p("type %s struct {\nv *HeadView\np unsafe.Pointer\n}", view)
	viewFields(w, r, "a "+view, "a.p", "a.v")
	for _, f := range r.Fields {
		if f.Kind == List {
			viewElement(w, f.Elem)
		}
	}
}
