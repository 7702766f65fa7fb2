package main

import (
	"strconv"
	"strings"
)

// goView writes the views of package abi: the records of a question about apps, read
// where they lie. A field is a method that loads it, so a policy pays for what it looks
// at. Whether the lists are whole is looked at once, when the question is opened; a text
// is looked at when it is asked for.
func goView(s *Schema) string {
	var w writer
	w.p(header + "package abi\n\nimport \"unsafe\"")
	goFields(&w, viewed{"v *HeadView", "v", "v.m", "v"}, s.byName["Head"])
	for _, r := range s.Records {
		if r.Request && r.apps() {
			goQuestion(&w, s, r)
			goElement(&w, r.Fields[0].Elem)
		}
	}
	return w.String()
}

// viewOf is the name of a record's view.
func viewOf(r *Record) string { return strings.TrimSuffix(r.Name, "Request") + "View" }

// viewed is how the methods of a view write what they need: the receiver, what has the
// fields and methods of the message's HeadView, a pointer to the record, and a pointer to
// the HeadView.
type viewed struct{ receiver, view, record, head string }

// goFields writes a method for each field of a record.
func goFields(w *writer, e viewed, r *Record) {
	for _, f := range r.Fields {
		count := "load32(" + e.record + ", " + strconv.Itoa(f.Offset+4) + ")"
		link := "[" + r.Name + "." + f.Name + "]"
		switch {
		case f.Name == "Size" || f.Name == "Minor" || f.Name == "Hook" || f.Name == "Fixed" || f.Name == "Zero":
		case f.Kind == Strs || f.Kind == List:
			one, result, element := strings.TrimSuffix(f.Name, "s"), "string", e.view+".text(p, 0)"
			if f.Kind == List {
				result = viewOf(f.Elem)
				element = result + "{" + e.head + ", p}"
			}
			w.p("\n// %s returns how many %s there are.\nfunc (%s) %s() int { return int(%s) }", f.Name, link, e.receiver, f.Name, count)
			w.p("\n// %s returns one of %s, from 0 on. It panics if there are not so many.", one, link)
			w.p("func (%s) %s(i int) %s {\nif uint(i) >= uint(%s) {\npanic(noSuch)\n}", e.receiver, one, result, count)
			w.p("p := unsafe.Add(%s.m, uint64(load32(%s, %d))+uint64(i)*uint64(load32(%s, %d)))", e.view, e.record, f.Offset, e.record, f.Offset+8)
			w.p("return %s\n}", element)
		case f.Kind == Str:
			w.p("\n// %s returns %s.\nfunc (%s) %s() string { return %s.text(%s, %d) }", f.Name, link, e.receiver, f.Name, e.view, e.record, f.Offset)
		default:
			w.p("\n// %s returns %s.\nfunc (%s) %s() %s { return %s(load%d(%s, %d)) }", f.Name, link, e.receiver, f.Name, f.Type, f.Type, f.Kind.bits(), e.record, f.Offset)
		}
	}
}

// goElement writes the view of an element of a list, and of the elements of its own.
func goElement(w *writer, r *Record) {
	view := viewOf(r)
	w.p("\n// %s is a [%s] that is read where it lies. It is good until the question is answered.", view, r.Name)
	w.p("type %s struct {\nv *HeadView\np unsafe.Pointer\n}", view)
	goFields(w, viewed{"e " + view, "e.v", "e.p", "e.v"}, r)
	for _, f := range r.Fields {
		if f.Kind == List {
			goElement(w, f.Elem)
		}
	}
}

// goQuestion writes the view of a question, and what asks a policy about it.
func goQuestion(w *writer, s *Schema, r *Record) {
	apps, verdict := r.Fields[0], s.verdict(r)
	item := s.item(verdict)
	// Answer writes these and nothing else.
	if len(item.Fields) != 3 || item.Size != 16 || item.Fields[1].Name != "Code" || item.Fields[2].Name != "Reason" || verdict.Size != 32 {
		panic("gen: " + item.Name + " or " + verdict.Name + " has grown: Answer has to write what is new")
	}
	fill := strings.NewReplacer(
		"QUESTION", viewOf(r), "APP", viewOf(apps.Elem), "ITEM", item.Name, "FIRST", item.Fields[0].Name,
		"REQUEST", r.Name, "VERDICT", verdict.Name, "LIST", strconv.Itoa(apps.Offset), "STRIDE", strconv.Itoa(apps.Offset+8),
	)
	w.p("%s", fill.Replace(`
// QUESTION is a [REQUEST] of which nothing is read before it is asked for. It is
// good until it is answered.
type QUESTION struct{ HeadView }`))
	goFields(w, viewed{"v *" + viewOf(r), "v", "v.m", "&v.HeadView"}, r)
	goOpen(w, s, r)
	w.p("%s", fill.Replace(`
// rewrite takes a message of another shape as this version writes it: one of an older
// host has shorter records.
func (v *QUESTION) rewrite(b []byte) error {
	var r REQUEST
	if err := r.Read(b); err != nil {
		v.m, v.size = nil, 0
		return err
	}
	return v.Open(r.Append(nil))
}

// Answer asks f about each app and writes the verdict to b's space, or to a larger one.
// The error is what Fail got, or says that a text which f has asked for is none. It is
// for the SDK.
func (v *QUESTION) Answer(b []byte, f func(*QUESTION, APP) ITEM) ([]byte, error) {
	n := v.Apps()
	end := SizeVERDICT + n*SizeITEM
	if cap(b) < end {
		b = make([]byte, end, end+firstSpace)
	}
	b = b[:end]
	var last *byte // the reason before this one: most are the same
	var lastLen int
	var text uint64
	at, stride := uint64(load32(v.m, LIST)), uint64(load32(v.m, STRIDE))
	for i := 0; i < n && v.err == nil; i++ {
		item := f(v, APP{&v.HeadView, unsafe.Add(v.m, at)})
		at += stride
		if s := unsafe.StringData(item.Reason); s != last || len(item.Reason) != lastLen {
			last, lastLen = s, len(item.Reason)
			if text = 0; lastLen > 0 {
				text = uint64(len(b)) | uint64(lastLen)<<32
				b = append(b, item.Reason...)
			}
		}
		to := unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), SizeVERDICT+i*SizeITEM)
		store64(to, 0, uint64(uint32(item.FIRST))|uint64(item.Code)<<32)
		store64(to, 8, text)
	}
	if v.broken {
		v.Fail(errText)
	}
	if v.err != nil {
		return b, v.err
	}
	to := unsafe.Pointer(unsafe.SliceData(b))
	store64(to, 0, uint64(len(b))|Minor<<32)
	store64(to, 8, 0)
	store64(to, 16, SizeVERDICT|uint64(n)<<32)
	store64(to, 24, SizeITEM)
	if n == 0 {
		store64(to, 16, 0)
		store64(to, 24, 0)
	}
	return b, nil
}

// Each asks f about each app as a plugin is asked, for a policy's own tests.
func (r *REQUEST) Each(f func(*QUESTION, APP) ITEM) ([]ITEM, error) {
	var q QUESTION
	var v VERDICT
	err := q.Open(r.Append(nil))
	if err != nil {
		return nil, err
	}
	b, err := q.Answer(nil, f)
	if err == nil {
		err = v.Read(b)
	}
	if err != nil {
		return nil, err
	}
	return v.Items, nil
}`))
}

// goOpen writes the method that takes a message.
func goOpen(w *writer, s *Schema, r *Record) {
	head := s.byName["Head"]
	w.p("\n// Open takes the message that is all of b. The error is that of a Read, but for lists that\n// overlap, which are none, and for texts, which are looked at when they are asked for. It\n// is for the SDK.")
	w.p("func (v *%s) Open(b []byte) error {\nsize := uint64(len(b))", viewOf(r))
	w.p("if size < Size%s {\nreturn v.rewrite(b)\n}\nm := unsafe.Pointer(unsafe.SliceData(b))", r.Name)
	w.p("if fixed := uint64(load32(m, %d)); uint64(load32(m, %d)) != size || fixed < Size%s || fixed > size {\nreturn v.rewrite(b)\n}", offset(head, "Fixed"), offset(head, "Size"), r.Name)
	goWhole(w, "m", head.Fields)
	goWhole(w, "m", r.Fields)
	w.p("v.m, v.size, v.err, v.broken, v.looked = m, size, nil, false, false\nreturn nil\n}")
}

// goWhole writes that Open is left where a list of a record, which lies at p, is not in
// the message as it is known here, or a list of one of its elements.
func goWhole(w *writer, p string, fields []*Field) {
	for _, f := range fields {
		if f.Kind != Strs && f.Kind != List {
			continue
		}
		w.p("if n := load32(%s, %d); n > 0 {", p, f.Offset+4)
		w.p("at, stride := load32(%s, %d), load32(%s, %d)", p, f.Offset, p, f.Offset+8)
		w.p("if stride < %s || uint64(at)+uint64(n)*uint64(stride) > size {\nreturn v.rewrite(b)\n}", elementSize(f))
		if f.Kind == List && f.Elem.lists() {
			w.p("for i := range n {\np := unsafe.Add(m, uint64(at)+uint64(i)*uint64(stride))")
			goWhole(w, "p", f.Elem.Fields)
			w.p("}")
		}
		w.p("}")
	}
}
