package main

// goCodec writes the codec of package abi. The messages about apps, which are asked and
// answered for devices without end, have two readers. Read takes the quick one, and where
// that has no answer the careful one: it knows short records, makes space, and says what
// is wrong. The others have the careful one alone.
func goCodec(s *Schema) string {
	var w writer
	w.p(header+"package abi\n\nimport (\n%q\n%q\n%q\n)\n", "encoding/binary", "slices", "unsafe")
	w.p("// Sizes of the records' fixed parts, in bytes.\nconst (")
	for _, r := range s.Records {
		w.p("Size%s = %d", r.Name, r.Size)
	}
	w.p(")\n\n// Imports lists the functions of module %q.\nvar Imports = [...]Import{", "souk")
	for _, im := range s.Imports {
		var params string
		for _, p := range im.Params {
			params += letter(p.Type)
		}
		result := ""
		if im.Result != "" {
			result = letter(im.Result)
		}
		w.p("{%q, %q, %q, %q},", im.Group, im.Name, params, result)
	}
	w.p("}")
	for _, r := range s.Records {
		if r.Message {
			goMessage(&w, s, r)
			continue
		}
		goRead(&w, r)
	}
	return w.String()
}

// goRead writes the method that takes a record from p, which is its whole
// fixed part.
func goRead(w *writer, r *Record) {
	w.p("\nfunc (r *%s) read(d *decoder, p []byte) {\n_ = p[Size%s-1]", r.Name, r.Name)
	for _, f := range r.Fields {
		switch f.Kind {
		case U16, U32, U64, I32:
			w.p("r.%s = %s(binary.LittleEndian.Uint%d(p[%d:]))", f.Name, f.Type, f.Kind.bits(), f.Offset)
		case Str:
			w.p("r.%s = d.str(p[%d:])", f.Name, f.Offset)
		case Strs:
			w.p("r.%s = d.strs(r.%s, p[%d:])", f.Name, f.Name, f.Offset)
		case List:
			w.p("{\nat, count, stride := d.list(p[%d:])", f.Offset)
			w.p("r.%s = space(r.%s, count)\nfor i := range r.%s {", f.Name, f.Name, f.Name)
			w.p("r.%s[i].read(d, d.part(at+i*stride, stride, Size%s))\n}\n}", f.Name, f.Elem.Name)
		}
	}
	w.p("}")
}

func goMessage(w *writer, s *Schema, r *Record) {
	w.p("\n// Append appends the message to b and returns the longer slice. The head's\n// fields that describe the message itself are written, not read.")
	w.p("func (r *%s) Append(b []byte) []byte {", r.Name)
	w.p("for {\nif n := r.place(b[len(b):cap(b)]); n > 0 {\nreturn b[:len(b)+n]\n}")
	w.p("b = slices.Grow(b, max(firstSpace, 2*(cap(b)-len(b))))\n}\n}")
	goPlace(w, s, r)
	w.p("\n// Read takes the message that is all of b. Strings alias b: they live as long\n// as its bytes don't change. The lists' space of an earlier Read is used again.")
	w.p("func (r *%s) Read(b []byte) error {", r.Name)
	if r.Hook == "Entitle" || r.Hook == "SelectVersion" {
		w.p("if r.quick(b) {\nreturn nil\n}\nreturn r.careful(b)\n}")
		goQuick(w, s, r)
		w.p("\nfunc (r *%s) careful(b []byte) error {", r.Name)
	}
	fixedAt := -1
	if r.Request {
		fixedAt = offset(s.byName[r.Head], "Fixed")
	}
	w.p("d := decoder{b: b, lists: len(b), text: MaxStrings}\np := d.open(%d, Size%s)", fixedAt, r.Name)
	w.p("if d.err != nil {\nreturn d.err\n}\nr.%s.read(&d, p)\nr.read(&d, p)\nreturn d.err\n}", r.Head)
	goRead(w, r)
}

// goQuick writes the method that reads a message in one piece. Calls, jumps and
// barriers are what a guest in Go pays most for: here are none but a jump for each
// element of a list and a barrier for the texts of a record. false = it is a message
// that the careful reader has to look at, or none; what was read so far is void.
func goQuick(w *writer, s *Schema, r *Record) {
	head := s.byName[r.Head]
	w.p("\nfunc (r *%s) quick(b []byte) bool {", r.Name)
	w.p("size := uint64(len(b))\nif size < Size%s {\nreturn false\n}", r.Name)
	w.p("m := unsafe.Pointer(unsafe.SliceData(b))\np := (*[Size%s]byte)(m)", r.Name)
	w.p("if uint64(binary.LittleEndian.Uint32(p[%d:])) != size {\nreturn false\n}", offset(head, "Size"))
	if r.Request {
		w.p("if fixed := uint64(binary.LittleEndian.Uint32(p[%d:])); fixed < Size%s || fixed > size {\nreturn false\n}", offset(head, "Fixed"), r.Name)
	}
	w.p("var outside, sum, taken uint64 // the top bit of outside: a text is")
	q := &quick{w}
	q.record("r."+r.Head, head)
	q.record("r", r)
	w.p("_, _, _ = outside, sum, taken // not every message has all of them\nreturn true\n}")
}

// quick writes the body of a quick method.
type quick struct{ *writer }

// record reads a record into the variable r. In what is written, p points to its
// fixed part.
func (q *quick) record(r string, of *Record) {
	var texts, at = []string{}, []int{}
	for _, f := range of.Fields {
		if f.Kind == Str {
			texts, at = append(texts, "&"+r+"."+f.Name), append(at, f.Offset)
		}
	}
	q.check(at)
	for _, f := range of.Fields {
		if bits := f.Kind.bits(); bits > 0 {
			q.p("%s.%s = %s(binary.LittleEndian.Uint%d(p[%d:]))", r, f.Name, f.Type, bits, f.Offset)
		}
	}
	q.texts(texts, at)
	for _, f := range of.Fields {
		if f.Kind == Strs || f.Kind == List {
			q.list(r, f)
		}
	}
}

func (q *quick) list(r string, f *Field) {
	size := elementSize(f)
	q.p("{\nl := p[%d:]", f.Offset)
	q.p("off, n, stride := uint64(binary.LittleEndian.Uint32(l)), uint64(binary.LittleEndian.Uint32(l[4:])), uint64(binary.LittleEndian.Uint32(l[8:]))")
	q.p("bytes := n * stride\ntaken += bytes")
	q.p("if bytes < n*%s || off+bytes > size || taken > size || n > uint64(cap(%s.%s)) {\nreturn false\n}", size, r, f.Name)
	q.p("%s.%s = %s.%s[:n]\nlist := %s.%s\nfor i := range list {", r, f.Name, r, f.Name, r, f.Name)
	q.p("p, r := (*[%s]byte)(unsafe.Add(m, off+uint64(i)*stride)), &list[i]", size)
	if f.Kind == List {
		q.record("r", f.Elem)
	} else {
		q.check([]int{0})
		q.texts([]string{"r"}, []int{0})
	}
	q.p("}\n}")
}

// check leaves the method if a text that one of these places points to is not in the
// message, or not UTF-8 where that is looked at. An empty one may say that it is
// outside: there is nothing to point to, so it is left to the careful reader too.
func (q *quick) check(at []int) {
	if len(at) == 0 {
		return
	}
	for _, at := range at {
		q.p("{\nw := binary.LittleEndian.Uint64(p[%d:])\noff, n := w&(1<<32-1), w>>32", at)
		q.p("outside |= (size - 1 - off) | (size - off - n)\nif checked {\nsum += n\n}\n}")
	}
	q.p("if int64(outside) < 0 || checked && sum > MaxStrings {\nreturn false\n}\nif checked {")
	for _, at := range at {
		q.p("if !isText(b, binary.LittleEndian.Uint64(p[%d:])) {\nreturn false\n}", at)
	}
	q.p("}")
}

// texts writes the texts of these places to where the expressions point, the pointers
// together: the compiler has one barrier for them then.
func (q *quick) texts(into []string, at []int) {
	if len(at) == 0 {
		return
	}
	for i, v := range into {
		q.p("(*text)(unsafe.Pointer(%s)).n = int(binary.LittleEndian.Uint32(p[%d:]))", v, at[i]+4)
	}
	q.p("{")
	for i := range into {
		q.p("t%d := unsafe.Add(m, binary.LittleEndian.Uint32(p[%d:]))", i, at[i])
	}
	for i, v := range into {
		q.p("(*text)(unsafe.Pointer(%s)).p = t%d", v, i)
	}
	q.p("}")
}

// goPlace writes the method that writes a message in one piece, for the same reasons,
// if b is long enough, and returns its length; 0 = b is too short.
func goPlace(w *writer, s *Schema, r *Record) {
	w.p("\nfunc (r *%s) place(b []byte) int {", r.Name)
	w.p("room := uint64(len(b))\nif room < Size%s {\nreturn 0\n}", r.Name)
	w.p("m := unsafe.Pointer(unsafe.SliceData(b))\np := (*[Size%s]byte)(m)\nend := uint64(Size%s)", r.Name, r.Name)
	own := map[string]string{"Size": "", "Minor": "Minor"}
	if r.Request {
		own["Hook"], own["Fixed"] = "Hook"+r.Hook, "Size"+r.Name
	}
	head := s.byName[r.Head]
	(&place{w, own}).record("r."+r.Head, head)
	(&place{w, nil}).record("r", r)
	w.p("binary.LittleEndian.PutUint32(p[%d:], uint32(end))\n_ = m\nreturn int(end)\n}", offset(head, "Size"))
}

// place writes the body of a place method. own are the values of fields that describe
// the message itself, "" = one that is written at the end.
type place struct {
	*writer
	own map[string]string
}

// record writes the record in the variable r. In what is written, p points to where it
// goes, which holds anything: every byte is written.
func (q *place) record(r string, of *Record) {
	for _, f := range of.Fields {
		value, own := q.own[f.Name]
		if !own {
			value = r + "." + f.Name
		}
		switch bits := f.Kind.bits(); {
		case value == "":
		case bits > 0:
			q.p("binary.LittleEndian.PutUint%d(p[%d:], uint%d(%s))", bits, f.Offset, bits, value)
		case f.Kind == Str:
			q.text(value, f.Offset)
		default:
			q.list(value, f)
		}
	}
}

// list writes a list, and with the same stroke zeros before it, where it is aligned.
func (q *place) list(value string, f *Field) {
	size := elementSize(f)
	q.p("if list := %s; len(list) == 0 {", value)
	q.p("binary.LittleEndian.PutUint64(p[%d:], 0)\nbinary.LittleEndian.PutUint64(p[%d:], 0)\n} else {", f.Offset, f.Offset+8)
	q.p("at, bytes := (end+7)&^7, uint64(len(list))*%s\nif at+bytes > room {\nreturn 0\n}", size)
	q.p("binary.LittleEndian.PutUint64(b[end:], 0)")
	q.p("binary.LittleEndian.PutUint64(p[%d:], at|uint64(len(list))<<32)\nbinary.LittleEndian.PutUint64(p[%d:], %s)", f.Offset, f.Offset+8, size)
	q.p("end = at + bytes\nfor i := range list {\np := (*[%s]byte)(unsafe.Add(m, at+uint64(i)*%s))", size, size)
	if f.Kind == List {
		q.p("r := &list[i]")
		q.record("r", f.Elem)
	} else {
		q.text("list[i]", 0)
	}
	q.p("}\n}")
}

func (q *place) text(value string, at int) {
	q.p("if s := %s; s == \"\" {\nbinary.LittleEndian.PutUint64(p[%d:], 0)\n} else {", value, at)
	q.p("n := uint64(len(s))\nif n > room-end {\nreturn 0\n}\ncopy(b[end:], s)")
	q.p("binary.LittleEndian.PutUint64(p[%d:], end|n<<32)\nend += n\n}", at)
}

// bits are those of a number, 0 = it is none.
func (k Kind) bits() int { return map[Kind]int{U16: 16, U32: 32, U64: 64, I32: 32}[k] }

func elementSize(f *Field) string {
	if f.Kind == List {
		return "Size" + f.Elem.Name
	}
	return "minStride"
}
